#include "conformance/case.h"

namespace rill::conformance {

using ops::OpId;

std::vector<Case> AddCases() {
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
    for (float scale : {1.0f, -0.37f}) {
      cases.push_back(Case(OpId::kAdd, text(s) + " scale " + std::to_string(scale))
                          .T("a", {s.tokens, s.size}, Fill::kUniform, s.pad)
                          .T("b", {s.tokens, s.size}, Fill::kUniform, 2)
                          .T("y", {s.tokens, s.size})
                          .A("b_scale", scale));
    }
  }
  for (Fill fill : {Fill::kTiny, Fill::kLarge, Fill::kSpecials}) {
    const std::string name = "fill" + std::to_string(static_cast<int>(fill));
    cases.push_back(Case(OpId::kAdd, name + " y is a")
                        .T("a", {4, 35}, fill)
                        .T("b", {4, 35})
                        .Alias("y", "a")
                        .A("b_scale", 0.22f));
    cases.push_back(Case(OpId::kAdd, name + " y is b")
                        .T("a", {4, 35}, fill)
                        .T("b", {4, 35})
                        .Alias("y", "b")
                        .A("b_scale", 1));
  }
  return cases;
}

}  // namespace rill::conformance
