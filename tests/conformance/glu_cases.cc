#include "conformance/case.h"

namespace rill::conformance {

using ops::OpId;

std::vector<Case> GluCases() {
  std::vector<Case> cases;
  struct Size {
    int64_t tokens, size, pad;
  };
  const Size kSizes[] = {{0, 8, 0},  {1, 1, 0},  {1, 15, 0}, {3, 16, 0},
                         {2, 17, 5}, {5, 63, 1}, {4, 129, 0}};
  auto text = [](const Size& s) {
    return std::to_string(s.tokens) + "x" + std::to_string(s.size) + "+" + std::to_string(s.pad);
  };
  for (int kind = 0; kind < 7; ++kind) {
    const std::string k = "kind" + std::to_string(kind) + " ";
    for (const Size& s : kSizes) {
      cases.push_back(Case(OpId::kGlu, k + text(s))
                          .T("gate", {s.tokens, s.size}, Fill::kOutliers, s.pad + s.size)
                          .T("up", {s.tokens, s.size}, Fill::kUniform, s.pad)
                          .T("y", {s.tokens, s.size}, Fill::kZero, s.pad)
                          .A("kind", kind));
    }
    for (Fill fill : {Fill::kTiny, Fill::kLarge, Fill::kSpecials}) {
      cases.push_back(Case(OpId::kGlu, k + "in place fill" + std::to_string(static_cast<int>(fill)))
                          .T("gate", {4, 31}, fill)
                          .T("up", {4, 31}, Fill::kSpread)
                          .Alias("y", "gate")
                          .A("kind", kind));
    }
  }
  return cases;
}

}  // namespace rill::conformance
