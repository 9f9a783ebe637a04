#include "conformance/case.h"

namespace rill::conformance {

using ops::OpId;

std::vector<Case> PagedAttentionCases() {
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
  const DType kDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};
  struct Kind {
    const char* name;
    double softcap, window, causal;
    bool alibi, sinks;
  };
  const Kind kKinds[] = {
      {"plain", 0, 0, 1, false, false},     {"window 20", 0, 20, 1, false, false},
      {"window 1", 0, 1, 1, false, false},  {"softcap", 3, 0, 1, false, false},
      {"alibi", 0, 0, 1, true, false},      {"sinks", 0, 0, 1, false, true},
      {"two-sided", 0, 0, 0, false, false}, {"all", 2, 30, 1, true, true},
  };
  for (DType dtype : kDTypes) {
    for (const Steps& steps : kSteps) {
      for (const Kind& kind : kKinds) {
        const int64_t n = tokens(steps);
        const bool odd = kind.softcap > 0;  // head sizes that fill no vector
        KvSpec kv{{dtype, 2, 2, odd ? 9 : 32, odd ? 17 : 32, odd ? 64 : 16}, steps.sequences};
        Case c(OpId::kPagedAttention,
               std::string(DTypeName(dtype)) + " " + steps.name + " " + kind.name);
        c.T("q", {n, 6, kv.layout.k_dim}, Fill::kUniform, 4);
        if (kind.alibi) c.T("alibi_slopes", {6});
        if (kind.sinks) c.T("sinks", {6});
        c.T("y", {n, 6, kv.layout.v_dim}, Fill::kZero, 2).K(kv);
        c.A("layer", 1).A("score_scale", 0.7f).A("softcap", kind.softcap).A("window", kind.window);
        c.A("causal", kind.causal);
        c.rows_alone = kind.causal != 0;
        cases.push_back(c);
      }
    }
  }
  // A non-finite query spoils its own row only; large scores saturate the softmax.
  for (Fill fill : {Fill::kSpecials, Fill::kLarge, Fill::kTiny, Fill::kZero}) {
    KvSpec kv{{DType::kF16, 1, 1, 16, 16, 16}, {{5, 40}}};
    cases.push_back(Case(OpId::kPagedAttention, "fill" + std::to_string(static_cast<int>(fill)))
                        .T("q", {5, 2, 16}, fill)
                        .T("y", {5, 2, 16})
                        .K(kv)
                        .A("score_scale", 0.25f)
                        .A("causal", 1));
  }
  return cases;
}

}  // namespace rill::conformance
