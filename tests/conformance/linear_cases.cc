#include "conformance/case.h"

namespace rill::conformance {

using ops::OpId;

std::vector<Case> LinearCases() {
  std::vector<Case> cases;
  const DType kDTypes[] = {
      DType::kF32,    DType::kF16,   DType::kBF16,   DType::kQ4_0,   DType::kQ4_1,   DType::kQ5_0,
      DType::kQ5_1,   DType::kQ8_0,  DType::kQ2_K,   DType::kQ3_K,   DType::kQ4_K,   DType::kQ5_K,
      DType::kQ6_K,   DType::kQ8_K,  DType::kIQ4_NL, DType::kIQ4_XS, DType::kTQ1_0,  DType::kTQ2_0,
      DType::kMXFP4,  DType::kI8,    DType::kU4G32,  DType::kU4G64,  DType::kU4G128, DType::kU8G32,
      DType::kU8G128, DType::kU2G64, DType::kU3G32};
  for (DType dtype : kDTypes) {
    const std::string name(DTypeName(dtype));
    const int64_t block = Traits(dtype).block_weights;
    for (int64_t tokens : {1, 7, 13}) {
      for (int64_t rows : {1, 16, 33}) {
        const int64_t cols = block == 1 ? 16 * tokens + rows : block * (tokens == 7 ? 3 : 1);
        Case c(OpId::kLinear, name + " " + std::to_string(tokens) + "x" + std::to_string(rows) +
                                  "x" + std::to_string(cols));
        c.T("x", {tokens, cols}, tokens == 7 ? Fill::kOutliers : Fill::kUniform, 3);
        c.W("w", {{{dtype, rows}}, cols}).A("scale", rows == 33 ? 0.31f : 1);
        if (rows != 16) c.T("bias", {rows});
        if (tokens != 1) c.T("residual", {tokens, rows});
        if (tokens == 7)
          c.Alias("y", "residual");
        else
          c.T("y", {tokens, rows}, Fill::kZero, 2);
        cases.push_back(c);
      }
    }
    // Several tiles, and k in several blocks: sums go through memory between them.
    cases.push_back(Case(OpId::kLinear, name + " deep")
                        .T("x", {29, 2304}, Fill::kOutliers)
                        .W("w", {{{dtype, 33}}, 2304})
                        .T("y", {29, 33})
                        .A("scale", 1));
    for (Fill fill : {Fill::kSpecials, Fill::kLarge, Fill::kTiny, Fill::kZero}) {
      const int64_t cols = block == 1 ? 50 : 2 * block;
      cases.push_back(Case(OpId::kLinear, name + " fill" + std::to_string(static_cast<int>(fill)))
                          .T("x", {5, cols}, fill)
                          .W("w", {{{dtype, 18}}, cols})
                          .T("y", {5, 18})
                          .A("scale", 1));
    }
  }
  cases.push_back(Case(OpId::kLinear, "stacked dtypes")
                      .T("x", {3, 256})
                      .W("w", {{{DType::kQ4_1, 24}, {DType::kQ8_0, 8}, {DType::kF16, 5}}, 256})
                      .T("y", {3, 37})
                      .A("scale", 1));
  for (DType dtype : {DType::kF16, DType::kQ4_0, DType::kU4G64, DType::kI8}) {
    WeightSpec spec{{{dtype, 24}, {dtype, 9}}, 192};
    spec.act_order = true;
    cases.push_back(Case(OpId::kLinear, "act-order " + std::string(DTypeName(dtype)))
                        .T("x", {5, 192})
                        .W("w", spec)
                        .T("y", {5, 33})
                        .A("scale", 1));
  }
  cases.push_back(Case(OpId::kLinear, "int8, whole rows of 256")
                      .T("x", {9, 256}, Fill::kOutliers)
                      .W("w", {{{DType::kI8, 40}}, 256})
                      .T("y", {9, 40})
                      .A("scale", 1));
  cases.push_back(Case(OpId::kLinear, "empty step")
                      .T("x", {0, 32})
                      .W("w", {{{DType::kQ4_0, 4}}, 32})
                      .T("y", {0, 4})
                      .A("scale", 1));
  cases.push_back(Case(OpId::kLinear, "long reduction")
                      .T("x", {2, 4096})
                      .W("w", {{{DType::kQ4_0, 17}}, 4096})
                      .T("y", {2, 17})
                      .A("scale", 1));
  return cases;
}

}  // namespace rill::conformance
