#include "conformance/case.h"

namespace rill::conformance {

using ops::OpId;

std::vector<Case> LinearGluCases() {
  std::vector<Case> cases;
  const DType kDTypes[] = {
      DType::kF32,    DType::kF16,   DType::kBF16,   DType::kQ4_0,   DType::kQ4_1,   DType::kQ5_0,
      DType::kQ5_1,   DType::kQ8_0,  DType::kQ2_K,   DType::kQ3_K,   DType::kQ4_K,   DType::kQ5_K,
      DType::kQ6_K,   DType::kQ8_K,  DType::kIQ4_NL, DType::kIQ4_XS, DType::kTQ1_0,  DType::kTQ2_0,
      DType::kMXFP4,  DType::kI8,    DType::kU4G32,  DType::kU4G64,  DType::kU4G128, DType::kU8G32,
      DType::kU8G128, DType::kU2G64, DType::kU3G32};
  for (DType dtype : kDTypes) {
    const int64_t cols = std::max<int64_t>(Traits(dtype).block_weights, 37) / 32 * 32 +
                         (IsQuantBlock(dtype) ? 0 : 5);
    for (int64_t size : {1, 16, 21}) {
      for (int64_t tokens : {1, 6}) {
        WeightSpec spec{{{dtype, size}, {dtype, size}}, cols};
        spec.paired = true;
        Case c(OpId::kLinearGlu, std::string(DTypeName(dtype)) + " " + std::to_string(tokens) +
                                     "x" + std::to_string(size));
        c.T("x", {tokens, cols}, Fill::kUniform, 2)
            .W("w", spec)
            .T("y", {tokens, size}, Fill::kZero, 1);
        if (size == 21) c.T("bias", {2 * size});
        c.A("kind", static_cast<double>((size + tokens) % 7));
        cases.push_back(c);
      }
    }
  }
  for (DType dtype : {DType::kF32, DType::kQ4_1, DType::kQ6_K, DType::kI8}) {
    const int64_t cols = std::max<int64_t>(Traits(dtype).block_weights, 128);
    for (int64_t tokens : {1, 7, 37}) {
      for (const bool layer : {false, true}) {
        WeightSpec spec{{{dtype, 21}, {dtype, 21}}, cols};
        spec.paired = true;
        Case c(OpId::kLinearGlu, std::string(DTypeName(dtype)) + (layer ? " layer " : " rms ") +
                                     std::to_string(tokens));
        c.T("x", {tokens, cols}, tokens == 7 ? Fill::kOutliers : Fill::kUniform, 3)
            .W("w", spec)
            .T("y", {tokens, 21}, Fill::kZero, 2)
            .A("kind", 0)
            .A("norm", layer ? 2 : 1)
            .A("eps", 1e-5);
        if (tokens != 1) c.T("norm_weight", {cols});
        if (layer && tokens == 7) c.T("norm_bias", {cols});
        if (!layer && tokens == 37) c.A("weight_bias", 1);
        if (tokens == 7) c.T("bias", {42});
        cases.push_back(c);
      }
    }
  }
  // Gate and up of two formats: tiles of tokens that fit both.
  for (int64_t tokens : {7, 20}) {
    WeightSpec spec{{{DType::kQ4_K, 21}, {DType::kQ6_K, 21}}, 256};
    spec.paired = true;
    cases.push_back(Case(OpId::kLinearGlu, "q4_k and q6_k " + std::to_string(tokens))
                        .T("x", {tokens, 256})
                        .W("w", spec)
                        .T("y", {tokens, 21})
                        .A("kind", 0));
  }
  for (DType dtype : {DType::kI8, DType::kU4G64}) {
    WeightSpec spec{{{dtype, 21}, {dtype, 21}}, 192};
    spec.paired = true;
    spec.act_order = true;
    cases.push_back(Case(OpId::kLinearGlu, "act-order " + std::string(DTypeName(dtype)))
                        .T("x", {7, 192})
                        .W("w", spec)
                        .T("y", {7, 21})
                        .A("kind", 0));
  }
  return cases;
}

}  // namespace rill::conformance
