#include "conformance/case.h"

namespace rill::conformance {

std::vector<Case> SoftcapCases() {
  return RowCases(ops::OpId::kSoftcap, "cap", 30, Fill::kOutliers, 5);
}

}  // namespace rill::conformance
