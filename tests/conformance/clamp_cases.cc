#include "conformance/case.h"

namespace rill::conformance {

std::vector<Case> ClampCases() {
  return RowCases(ops::OpId::kClamp, "limit", 0.7f, Fill::kOutliers, 5);
}

}  // namespace rill::conformance
