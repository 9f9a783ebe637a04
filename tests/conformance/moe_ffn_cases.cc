#include <algorithm>

#include "conformance/case.h"

namespace rill::conformance {

using ops::OpId;

std::vector<Case> MoeFfnCases() {
  std::vector<Case> cases;
  struct Formats {
    DType gate_up, down;
  };
  // q2_k and q6_k have groups of 16: with int8 activations their inner rows need sums of 16, too.
  const Formats formats[] = {
      {DType::kF32, DType::kF32},     {DType::kBF16, DType::kBF16},   {DType::kQ4_0, DType::kQ4_0},
      {DType::kQ8_0, DType::kQ8_0},   {DType::kMXFP4, DType::kMXFP4}, {DType::kI8, DType::kI8},
      {DType::kU4G32, DType::kU4G32}, {DType::kQ2_K, DType::kQ2_K},   {DType::kQ4_K, DType::kQ4_K},
      {DType::kQ6_K, DType::kQ6_K},   {DType::kQ4_K, DType::kQ6_K}};
  for (const Formats& f : formats) {
    for (bool ungated : {false, true}) {
      for (int64_t tokens : {1, 5}) {
        const int64_t hidden = std::max<int64_t>(Traits(f.gate_up).block_weights, 64);
        const int64_t size = std::max<int64_t>(Traits(f.down).block_weights, 32), experts = 4;
        WeightSpec up{{{f.gate_up, size}, {f.gate_up, size}}, hidden, experts};
        up.paired = !ungated;
        // As experts of a GPTQ checkpoint: each has an order of its own.
        up.act_order = f.gate_up == DType::kU4G32;
        if (ungated) up.parts.pop_back();
        WeightSpec down{{{f.down, hidden}}, size, experts};
        down.act_order = up.act_order;
        std::vector<int32_t> ids = {3, 1, 0, 2, 1, 3, 2, 2, 0, 1};
        ids.resize(static_cast<size_t>(tokens) * 2);
        std::string name(DTypeName(f.gate_up));
        if (f.down != f.gate_up) name += " " + std::string(DTypeName(f.down));
        Case c(OpId::kMoeFfn, name + (ungated ? " ungated " : " gated ") + std::to_string(tokens));
        c.T("x", {tokens, hidden}, Fill::kUniform, 4)
            .I("expert_ids", {tokens, 2}, ids)
            .T("expert_weights", {tokens, 2});
        c.W("gate_up", up).W("down", down).A("ungated", ungated).A("kind", ungated ? 4 : 0);
        if (tokens == 5) {
          c.T("residual", {tokens, hidden}).Alias("y", "residual");
        } else {
          c.T("y", {tokens, hidden});
        }
        cases.push_back(c);
      }
    }
  }
  // Backends take tokens in chunks (cpu: 256): two, the second shorter, each token with ids and
  // weights of its own.
  constexpr int32_t kMany = 300, kExperts = 4;
  std::vector<int32_t> ids;
  for (int32_t t = 0; t < kMany; ++t) {
    const int32_t first = (t + t / 5) % kExperts;
    ids.push_back(first);
    ids.push_back((first + 1 + t % 3) % kExperts);
  }
  WeightSpec up{{{DType::kQ4_0, 32}, {DType::kQ4_0, 32}}, 64, kExperts};
  up.paired = true;
  cases.push_back(Case(OpId::kMoeFfn, "q4_0 gated in chunks")
                      .T("x", {kMany, 64}, Fill::kUniform, 4)
                      .I("expert_ids", {kMany, 2}, ids)
                      .T("expert_weights", {kMany, 2})
                      .W("gate_up", up)
                      .W("down", {{{DType::kQ4_0, 64}}, 32, kExperts})
                      .T("residual", {kMany, 64})
                      .Alias("y", "residual"));
  return cases;
}

}  // namespace rill::conformance
