#include "conformance/case.h"

namespace rill::conformance {

using ops::OpId;

std::vector<Case> PositionEmbeddingCases() {
  std::vector<Case> cases;
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0}) {
    const int64_t cols = IsQuantBlock(dtype) ? 64 : 35;
    WeightSpec table{{{dtype, 12}}, cols};
    table.row_access = true;
    table.matmul = false;
    Case c(OpId::kPositionEmbedding, std::string(DTypeName(dtype)));
    c.T("x", {4, cols}, Fill::kUniform, 2)
        .I("positions", {4}, {0, 9, 9, 3})
        .W("table", table)
        .A("offset", 2);
    if (dtype == DType::kF16)
      c.Alias("y", "x");
    else
      c.T("y", {4, cols});
    cases.push_back(c);
  }
  return cases;
}

}  // namespace rill::conformance
