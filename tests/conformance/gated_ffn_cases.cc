#include "conformance/case.h"

namespace rill::conformance {

using ops::OpId;

std::vector<Case> GatedFfnCases() {
  std::vector<Case> cases;
  struct Formats {
    DType gate_up, down;
  };
  // Inner rows are quantised where they are made in groups of 32 (also with sums of 16, q6_k), 64
  // and 128; with int8 rows, f32 activations and a down projection of another kind they are not.
  const Formats formats[] = {{DType::kF32, DType::kF32},     {DType::kBF16, DType::kQ4_0},
                             {DType::kQ4_0, DType::kQ4_0},   {DType::kQ4_K, DType::kQ6_K},
                             {DType::kQ4_1, DType::kQ8_0},   {DType::kMXFP4, DType::kMXFP4},
                             {DType::kU4G64, DType::kU4G64}, {DType::kU4G32, DType::kU4G128},
                             {DType::kI8, DType::kI8},       {DType::kQ8_0, DType::kF16}};
  for (const Formats& f : formats) {
    const int64_t hidden = std::max<int64_t>(Traits(f.gate_up).block_weights, 64);
    const int64_t block = Traits(f.down).block_weights;
    const int64_t size = (96 + block - 1) / block * block;
    for (int64_t tokens : {1, 7, 34}) {
      const int norm = tokens == 1 ? 0 : tokens == 7 ? 1 : 2;
      Case c(OpId::kGatedFfn, std::string(DTypeName(f.gate_up)) + " " +
                                  std::string(DTypeName(f.down)) + " " + std::to_string(tokens));
      WeightSpec gate_up{{{f.gate_up, size}, {f.gate_up, size}}, hidden};
      gate_up.paired = true;
      c.T("x", {tokens, hidden}, Fill::kUniform, tokens == 34 ? 0 : 2)
          .W("gate_up", gate_up)
          .W("down", {{{f.down, hidden}}, size})
          .A("norm", norm)
          .A("eps", 1e-5)
          .A("kind", tokens == 7 ? 2 : 0)
          .A("scale", tokens == 7 ? 0.31f : 1);
      if (norm != 0) c.T("norm_weight", {hidden});
      if (norm == 2) c.T("norm_bias", {hidden});
      if (tokens == 7) c.T("gate_up_bias", {2 * size}).T("down_bias", {hidden});
      if (tokens == 7) {
        c.T("residual", {tokens, hidden}).Alias("y", "residual");
      } else if (tokens == 34) {
        c.Alias("y", "x");
      } else {
        c.T("y", {tokens, hidden}, Fill::kZero, 1);
      }
      cases.push_back(c);
    }
  }
  WeightSpec gate_up{{{DType::kU4G64, 96}, {DType::kU4G64, 96}}, 128};
  gate_up.paired = gate_up.act_order = true;
  WeightSpec down{{{DType::kU4G32, 128}}, 96};
  down.act_order = true;
  cases.push_back(Case(OpId::kGatedFfn, "act-order")
                      .T("x", {5, 128})
                      .W("gate_up", gate_up)
                      .W("down", down)
                      .T("y", {5, 128})
                      .A("norm", 1)
                      .A("eps", 1e-5)
                      .A("scale", 1));
  WeightSpec plain{{{DType::kQ8_0, 64}, {DType::kQ8_0, 64}}, 64};
  plain.paired = true;
  cases.push_back(Case(OpId::kGatedFfn, "rows of NaN and Inf")
                      .T("x", {18, 64}, Fill::kSpecials)
                      .W("gate_up", plain)
                      .W("down", {{{DType::kQ8_0, 64}}, 64})
                      .T("y", {18, 64})
                      .A("scale", 1));
  return cases;
}

}  // namespace rill::conformance
