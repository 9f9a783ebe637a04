#include "conformance/case.h"

namespace rill::conformance {

using ops::OpId;

std::vector<Case> LogitsCases() {
  std::vector<Case> cases;
  const DType kDTypes[] = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ4_0,  DType::kQ4_1,
                           DType::kQ8_0, DType::kQ6_K, DType::kI8,   DType::kU4G128};
  // Rows of which every logit is wanted, none, and some.
  const std::vector<int32_t> kWanted[] = {{0, 0, 0, 0, 0}, {1, 1, 1, 1, 1}, {0, 1, 0, 0, 1}};
  for (DType dtype : kDTypes) {
    const std::string name(DTypeName(dtype));
    const int64_t block = Traits(dtype).block_weights;
    const int64_t cols = block == 1 ? 48 : 2 * block;
    for (int64_t vocab : {1, 16, 33, 300}) {
      for (const std::vector<int32_t>& wanted : kWanted) {
        std::string rows;
        for (const int32_t one : wanted) rows += one != 0 ? 'y' : 'n';
        Case c(OpId::kLogits, name + " " + std::to_string(vocab) + " " + rows);
        c.T("x", {5, cols}, Fill::kUniform, 3).W("w", {{{dtype, vocab}}, cols});
        c.I("wanted", {5}, wanted);
        c.T("y", {5, vocab}, Fill::kZero, 2).I("best_id", {5}, {7, 7, 7, 7, 7});
        c.T("best", {5}).A("scale", vocab == 33 ? 0.31f : 1);
        if (vocab != 16) c.T("bias", {vocab});
        cases.push_back(c);
      }
    }
    // A row of NaN, of Inf, of -Inf: the culprit is told, and no other row is touched by it.
    Case specials(OpId::kLogits, name + " not finite");
    specials.T("x", {5, cols}, Fill::kSpecials).W("w", {{{dtype, 70}}, cols});
    specials.I("wanted", {5}, {0, 0, 0, 0, 1}).T("y", {5, 70}).T("best", {5}).A("scale", 1);
    specials.I("best_id", {5}, {7, 7, 7, 7, 7});
    cases.push_back(specials);
    // All equal: the first.
    Case ties(OpId::kLogits, name + " ties");
    ties.T("x", {3, cols}, Fill::kZero).W("w", {{{dtype, 200}}, cols}).I("wanted", {3}, {0, 0, 1});
    ties.T("y", {3, 200}).T("best", {3}).I("best_id", {3}, {7, 7, 7}).A("scale", 1);
    cases.push_back(ties);
  }
  cases.push_back(Case(OpId::kLogits, "stacked dtypes")
                      .T("x", {3, 256})
                      .W("w", {{{DType::kQ4_1, 24}, {DType::kQ8_0, 8}, {DType::kF16, 5}}, 256})
                      .I("wanted", {3}, {0, 1, 0})
                      .T("y", {3, 37})
                      .I("best_id", {3}, {7, 7, 7})
                      .T("best", {3})
                      .A("scale", 1));
  cases.push_back(Case(OpId::kLogits, "empty step")
                      .T("x", {0, 32})
                      .W("w", {{{DType::kQ4_0, 4}}, 32})
                      .I("wanted", {0}, {})
                      .T("y", {0, 4})
                      .I("best_id", {0}, {})
                      .T("best", {0})
                      .A("scale", 1));
  return cases;
}

}  // namespace rill::conformance
