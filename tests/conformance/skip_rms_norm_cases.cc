#include "conformance/case.h"

namespace rill::conformance {

using ops::OpId;

std::vector<Case> SkipRmsNormCases() {
  std::vector<Case> cases;
  for (int64_t size : {1, 15, 17, 64, 576}) {
    for (int alias : {0, 1, 2}) {
      Case c(OpId::kSkipRmsNorm, std::to_string(size) + " alias " + std::to_string(alias));
      c.T("x", {4, size}, alias == 2 ? Fill::kSpecials : Fill::kOutliers, 1)
          .T("skip", {4, size}, Fill::kUniform, 2);
      c.T("weight", {size}).A("weight_bias", 1).A("eps", 1e-5f);
      if (alias == 0) {
        c.T("h", {4, size}).T("y", {4, size}, Fill::kZero, 3);
      } else if (alias == 1) {
        c.Alias("h", "skip").Alias("y", "x");
      } else {
        c.Alias("h", "x").Alias("y", "skip");
      }
      cases.push_back(c);
    }
  }
  return cases;
}

}  // namespace rill::conformance
