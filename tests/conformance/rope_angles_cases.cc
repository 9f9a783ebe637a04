#include "conformance/case.h"

namespace rill::conformance {

using ops::OpId;

std::vector<Case> RopeAnglesCases() {
  std::vector<Case> cases;
  for (int64_t half : {1, 8, 16, 17, 48}) {
    cases.push_back(Case(OpId::kRopeAngles, "half " + std::to_string(half))
                        .I("positions", {6}, {0, 1, 63, 4095, 131071, 4000000})
                        .T("inv_freq", {half})
                        .T("cos_sin", {6, 2 * half}, Fill::kZero, 3)
                        .A("magnitude", half == 8 ? 1.19f : 1));
  }
  cases.push_back(Case(OpId::kRopeAngles, "empty step")
                      .I("positions", {0}, {})
                      .T("inv_freq", {4})
                      .T("cos_sin", {0, 8})
                      .A("magnitude", 1));
  return cases;
}

}  // namespace rill::conformance
