#include "conformance/case.h"

namespace rill::conformance {

std::vector<Case> ScaleCases() {
  return RowCases(ops::OpId::kScale, "factor", 0.0625f * 1.1f, Fill::kUniform, 0.3f);
}

}  // namespace rill::conformance
