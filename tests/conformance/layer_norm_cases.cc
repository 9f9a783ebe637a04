#include "conformance/case.h"

namespace rill::conformance {

using ops::OpId;

std::vector<Case> LayerNormCases() {
  std::vector<Case> cases;
  for (int64_t size : {1, 2, 15, 16, 17, 64, 577}) {
    for (int64_t groups : {1, 3}) {
      for (int parameters : {0, 1, 2, 3}) {
        Case c(OpId::kLayerNorm, std::to_string(groups) + "x" + std::to_string(size) + " p" +
                                     std::to_string(parameters));
        c.T("x", {3, groups, size}, Fill::kOutliers, 3).A("eps", 1e-5f);
        if (parameters & 1)
          c.T("weight",
              groups == 1 ? std::vector<int64_t>{size} : std::vector<int64_t>{groups, size});
        if (parameters & 2) c.T("bias", {size});
        c.T("y", {3, groups, size}, Fill::kZero, 1);
        cases.push_back(c);
      }
    }
  }
  for (Fill fill : {Fill::kSpecials, Fill::kLarge, Fill::kTiny, Fill::kZero}) {
    cases.push_back(Case(OpId::kLayerNorm, "fill" + std::to_string(static_cast<int>(fill)))
                        .T("x", {4, 1, 67}, fill)
                        .T("weight", {67})
                        .Alias("y", "x")
                        .A("eps", 1e-6f));
  }
  cases.push_back(
      Case(OpId::kLayerNorm, "empty step").T("x", {0, 1, 8}).T("y", {0, 1, 8}).A("eps", 1e-5f));
  return cases;
}

}  // namespace rill::conformance
