#include "conformance/case.h"

namespace rill::conformance {

using ops::OpId;

std::vector<Case> RmsNormCases() {
  std::vector<Case> cases;
  for (int64_t size : {1, 2, 15, 16, 17, 64, 576, 577}) {
    for (int64_t groups : {1, 3}) {
      for (int weights : {0, 1, 2}) {
        Case c(OpId::kRmsNorm, std::to_string(groups) + "x" + std::to_string(size) + " w" +
                                   std::to_string(weights));
        c.T("x", {3, groups, size}, Fill::kOutliers, 3).A("eps", 1e-5f);
        if (weights == 1) c.T("weight", {size});
        if (weights == 2) c.T("weight", {groups, size}).A("weight_bias", 1);
        c.T("y", {3, groups, size}, Fill::kZero, 1);
        cases.push_back(c);
      }
    }
  }
  for (Fill fill : {Fill::kSpecials, Fill::kLarge, Fill::kTiny, Fill::kZero}) {
    cases.push_back(Case(OpId::kRmsNorm, "fill" + std::to_string(static_cast<int>(fill)))
                        .T("x", {4, 1, 67}, fill)
                        .T("weight", {67})
                        .Alias("y", "x")
                        .A("eps", 1e-6f));
  }
  cases.push_back(
      Case(OpId::kRmsNorm, "empty step").T("x", {0, 1, 8}).T("y", {0, 1, 8}).A("eps", 1e-5f));
  return cases;
}

}  // namespace rill::conformance
