#include "conformance/case.h"

namespace rill::conformance {

using ops::OpId;

std::vector<Case> ClampCases() {
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
    cases.push_back(Case(OpId::kClamp, text(s))
                        .T("x", {s.tokens, s.size}, Fill::kOutliers, s.pad)
                        .T("y", {s.tokens, s.size}, Fill::kZero, 1)
                        .A("limit", 0.7f));
  }
  for (Fill fill : {Fill::kTiny, Fill::kLarge, Fill::kSpecials}) {
    cases.push_back(Case(OpId::kClamp, "fill" + std::to_string(static_cast<int>(fill)))
                        .T("x", {4, 35}, fill)
                        .Alias("y", "x")
                        .A("limit", 5));
  }
  return cases;
}

}  // namespace rill::conformance
