#include "conformance/case.h"

namespace rill::conformance {

using ops::OpId;

std::vector<Case> GatherRowsCases() {
  std::vector<Case> cases;
  for (int64_t size : {1, 17, 64}) {
    Case c(OpId::kGatherRows, "size " + std::to_string(size));
    c.T("x", {6, size}, Fill::kSpecials, 2)
        .I("rows", {4}, {5, 0, 0, 2})
        .T("y", {4, size}, Fill::kZero, 1);
    c.rows_alone = false;
    cases.push_back(c);
  }
  Case none(OpId::kGatherRows, "no rows");
  none.T("x", {2, 8}).I("rows", {0}, {}).T("y", {0, 8});
  none.rows_alone = false;
  cases.push_back(none);
  return cases;
}

}  // namespace rill::conformance
