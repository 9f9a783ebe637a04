#include "conformance/case.h"

namespace rill::conformance {

using ops::OpId;

std::vector<Case> EmbeddingCases() {
  std::vector<Case> cases;
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ4_0, DType::kQ4_1,
                      DType::kQ5_0, DType::kQ5_1, DType::kQ8_0, DType::kQ2_K, DType::kQ3_K,
                      DType::kQ4_K, DType::kQ5_K, DType::kQ6_K, DType::kQ8_K, DType::kIQ4_NL,
                      DType::kIQ4_XS, DType::kTQ1_0, DType::kTQ2_0, DType::kMXFP4}) {
    for (bool matmul : {false, true}) {
      WeightSpec spec{{{dtype, 19}}, IsQuantBlock(dtype) ? 512 : 33};
      spec.row_access = true;
      spec.matmul = matmul;
      const std::string name(DTypeName(dtype));
      cases.push_back(Case(OpId::kEmbedding, name + (matmul ? " tied" : " plain"))
                          .I("token_ids", {5}, {0, 18, 3, 3, 16})
                          .W("table", spec)
                          .T("y", {5, spec.cols}, Fill::kZero, 3)
                          .A("scale", matmul ? 1 : 24.0f));
    }
  }
  cases.push_back(Case(OpId::kEmbedding, "empty step")
                      .I("token_ids", {0}, {})
                      .W("table", {{{DType::kF32, 3}}, 8, 0, false, true})
                      .T("y", {0, 8})
                      .A("scale", 1));
  return cases;
}

}  // namespace rill::conformance
