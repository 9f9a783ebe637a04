#include "conformance/case.h"

namespace rill::conformance {

using ops::OpId;

std::vector<Case> RopeKvAppendCases() {
  std::vector<Case> cases;
  struct Steps {
    const char* name;
    std::vector<KvSpec::Sequence> sequences;
  };
  const Steps kSteps[] = {
      {"empty", {}},
      {"one token", {{1, 1}}},
      {"decodes", {{1, 65}, {1, 16}, {1, 130}}},
      {"prefill", {{17, 17}}},
      {"mixed", {{1, 33}, {5, 64}, {9, 70}, {0, 12}}},
  };
  auto tokens = [](const Steps& steps) {
    int64_t sum = 0;
    for (const auto& s : steps.sequences) sum += s.q_len;
    return sum;
  };
  for (int i = 0; i < quant::kNumKvFormats; ++i) {
    const auto format = static_cast<quant::KvFormat>(i);
    for (const Steps& steps : kSteps) {
      for (int64_t rotary_dim : {2, 10, 20, 32}) {
        const int64_t n = tokens(steps);
        KvSpec kv{{format, 2, 2, 32, 15, 32}, steps.sequences, false};
        cases.push_back(Case(OpId::kRopeKvAppend, std::string(quant::KvFormatName(format)) + " " +
                                                      steps.name + " rotary " +
                                                      std::to_string(rotary_dim))
                            .T("q", {n, 6, 32}, Fill::kUniform, 5)
                            .T("k", {n, 2, 32}, Fill::kUniform, 3)
                            .T("v", {n, 2, 15})
                            .T("cos_sin", {n, rotary_dim})
                            .K(kv)
                            .A("interleaved", rotary_dim % 4 != 0)
                            .A("layer", 1));
      }
    }
  }
  return cases;
}

}  // namespace rill::conformance
