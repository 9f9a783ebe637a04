#include "conformance/case.h"

namespace rill::conformance {

using ops::OpId;

std::vector<Case> NormLinearCases() {
  std::vector<Case> cases;
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kQ4_0, DType::kQ4_1, DType::kQ4_K,
                      DType::kQ6_K, DType::kMXFP4, DType::kI8, DType::kU4G64}) {
    const int64_t cols = std::max<int64_t>(Traits(dtype).block_weights, 128);
    for (int64_t tokens : {1, 7, 37}) {
      for (const bool layer : {false, true}) {
        Case c(OpId::kNormLinear, std::string(DTypeName(dtype)) + (layer ? " layer " : " rms ") +
                                      std::to_string(tokens));
        c.T("x", {tokens, cols}, tokens == 7 ? Fill::kOutliers : Fill::kUniform, 3)
            .W("w", {{{dtype, 33}}, cols})
            .T("y", {tokens, 33}, Fill::kZero, 2)
            .A("norm", layer ? 2 : 1)
            .A("eps", 1e-5);
        if (tokens != 1) c.T("norm_weight", {cols});
        if (layer && tokens == 7) c.T("norm_bias", {cols});
        if (!layer && tokens == 37) c.A("weight_bias", 1);
        if (tokens == 7) c.T("bias", {33});
        cases.push_back(c);
      }
    }
  }
  cases.push_back(Case(OpId::kNormLinear, "rows of NaN and Inf")
                      .T("x", {5, 96}, Fill::kSpecials)
                      .W("w", {{{DType::kQ8_0, 18}}, 96})
                      .T("y", {5, 18})
                      .A("norm", 1)
                      .A("eps", 1e-5));
  cases.push_back(Case(OpId::kNormLinear, "stacked dtypes")
                      .T("x", {3, 256})
                      .T("norm_weight", {256})
                      .W("w", {{{DType::kQ4_1, 24}, {DType::kQ8_0, 8}, {DType::kF16, 5}}, 256})
                      .T("y", {3, 37})
                      .A("norm", 1)
                      .A("eps", 1e-5));
  WeightSpec ordered{{{DType::kU4G64, 24}, {DType::kU4G64, 9}}, 192};
  ordered.act_order = true;
  cases.push_back(Case(OpId::kNormLinear, "act-order u4g64")
                      .T("x", {5, 192})
                      .T("norm_weight", {192})
                      .W("w", ordered)
                      .T("y", {5, 33})
                      .A("norm", 1)
                      .A("eps", 1e-5));
  return cases;
}

}  // namespace rill::conformance
