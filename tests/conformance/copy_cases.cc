#include "conformance/case.h"

namespace rill::conformance {

using ops::OpId;

std::vector<Case> CopyCases() {
  std::vector<Case> cases;
  struct Size {
    int64_t tokens, size, pad;
  };
  const Size kSizes[] = {{0, 8, 0},  {1, 1, 0},  {1, 15, 0}, {3, 16, 0},
                         {2, 17, 5}, {5, 63, 1}, {4, 129, 0}};
  auto text = [](const Size& s) {
    return std::to_string(s.tokens) + "x" + std::to_string(s.size) + "+" + std::to_string(s.pad);
  };
  for (const Size& s : kSizes) {
    for (int64_t heads : {1, 3}) {
      cases.push_back(Case(OpId::kCopy, text(s) + " heads " + std::to_string(heads))
                          .T("x", {s.tokens, heads, s.size}, Fill::kSpecials, s.pad)
                          .T("y", {s.tokens, heads, s.size}, Fill::kZero, s.pad + 3));
    }
  }
  Case broadcast = Case(OpId::kCopy, "one head to all").T("x", {3, 4, 19}).T("y", {3, 4, 19});
  broadcast.tensors["x"].broadcast = true;
  cases.push_back(broadcast);
  return cases;
}

}  // namespace rill::conformance
