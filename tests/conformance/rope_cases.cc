#include "conformance/case.h"

namespace rill::conformance {

using ops::OpId;

std::vector<Case> RopeCases() {
  std::vector<Case> cases;
  for (bool interleaved : {false, true}) {
    for (int64_t rotary_dim : {2, 6, 30, 32, 34, 64}) {
      for (int64_t heads : {1, 3}) {
        cases.push_back(
            Case(OpId::kRope, (interleaved ? "pairs " : "halves ") + std::to_string(rotary_dim) +
                                  " heads " + std::to_string(heads))
                .T("x", {4, heads, 64}, heads == 1 ? Fill::kSpecials : Fill::kUniform, 5)
                .T("cos_sin", {4, rotary_dim}, Fill::kUniform, 2)
                .A("interleaved", interleaved));
      }
    }
  }
  cases.push_back(Case(OpId::kRope, "empty step").T("x", {0, 2, 8}).T("cos_sin", {0, 8}));
  return cases;
}

}  // namespace rill::conformance
