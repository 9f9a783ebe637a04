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
  for (int i = 0; i < quant::kNumKvFormats; ++i) {
    const auto format = static_cast<quant::KvFormat>(i);
    for (const Steps& steps : kSteps) {
      for (const Kind& kind : kKinds) {
        const int64_t n = tokens(steps);
        const bool odd = kind.softcap > 0;  // head sizes that fill no vector
        KvSpec kv{{format, 2, 2, odd ? 9 : 32, odd ? 17 : 32, odd ? 64 : 16}, steps.sequences};
        Case c(OpId::kPagedAttention,
               std::string(quant::KvFormatName(format)) + " " + steps.name + " " + kind.name);
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
  // Several spans of 256 positions; every number of heads that share a KV head; head sizes that
  // fill registers and some that do not; decode and short chunks.
  struct Heads {
    int64_t heads;
    int32_t kv_heads, k_dim, v_dim;
  };
  const Heads kHeads[] = {{3, 3, 64, 64}, {2, 1, 64, 64}, {3, 1, 80, 80},   {4, 1, 33, 96},
                          {5, 1, 64, 72}, {7, 1, 20, 64}, {16, 2, 64, 128}, {26, 2, 16, 64}};
  const std::vector<KvSpec::Sequence> kLong[] = {{{1, 300}, {1, 61}},
                                                 {{2, 513}, {1, 256}, {1, 40}}};
  for (int i = 0; i < quant::kNumKvFormats; ++i) {
    const auto format = static_cast<quant::KvFormat>(i);
    for (const Heads& h : kHeads) {
      for (const auto& sequences : kLong) {
        const bool all = sequences.size() == 3;
        const int64_t n = all ? 4 : 2;
        KvSpec kv{{format, 1, h.kv_heads, h.k_dim, h.v_dim, all ? 16 : 64}, sequences};
        Case c(OpId::kPagedAttention, std::string(quant::KvFormatName(format)) + " " +
                                          std::to_string(h.heads) + "/" +
                                          std::to_string(h.kv_heads) + " heads of " +
                                          std::to_string(h.v_dim) + (all ? " all" : " decodes"));
        c.T("q", {n, h.heads, h.k_dim}).T("y", {n, h.heads, h.v_dim}, Fill::kZero).K(kv);
        c.A("score_scale", 0.3f).A("causal", 1);
        if (all) {
          c.T("sinks", {h.heads}).T("alibi_slopes", {h.heads}, Fill::kTiny).A("window", 300);
        }
        cases.push_back(c);
      }
    }
  }
  // A non-finite query spoils its own row only; large scores saturate the softmax.
  for (Fill fill : {Fill::kSpecials, Fill::kLarge, Fill::kTiny, Fill::kZero}) {
    KvSpec kv{{quant::KvFormat::kF16, 1, 1, 16, 16, 16}, {{5, 40}}};
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
