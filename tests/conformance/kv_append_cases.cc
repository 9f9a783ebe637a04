#include "conformance/case.h"

namespace rill::conformance {

using ops::OpId;

std::vector<Case> KvAppendCases() {
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
      for (int32_t page_size : {16, 64}) {
        const int64_t n = tokens(steps);
        KvSpec kv{{format, 2, 3, 20, 24, page_size}, steps.sequences, false};
        cases.push_back(Case(OpId::kKvAppend, std::string(quant::KvFormatName(format)) + " " +
                                                  steps.name + " page " + std::to_string(page_size))
                            .T("k", {n, 3, 20}, page_size == 16 ? Fill::kSpecials : Fill::kLarge, 7)
                            .T("v", {n, 3, 24}, page_size == 16 ? Fill::kTiny : Fill::kUniform)
                            .K(kv)
                            .A("layer", 1));
      }
    }
  }
  return cases;
}

}  // namespace rill::conformance
