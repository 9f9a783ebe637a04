#include "conformance/case.h"

namespace rill::conformance {

using ops::OpId;

std::vector<Case> MoeRouteCases() {
  std::vector<Case> cases;
  struct Kind {
    const char* name;
    double sigmoid, after, normalize, scale, groups, top_groups, top2;
    bool bias;
  };
  const Kind kKinds[] = {
      {"softmax", 0, 0, 0, 1, 1, 1, 0, false},    {"normalized", 0, 0, 1, 1, 1, 1, 0, false},
      {"after topk", 0, 1, 0, 1, 1, 1, 0, false}, {"sigmoid bias", 1, 0, 1, 2.5, 1, 1, 0, true},
      {"groups", 0, 0, 0, 16, 4, 2, 0, false},    {"groups top2", 1, 0, 1, 2.5, 4, 2, 1, true},
  };
  for (const Kind& kind : kKinds) {
    for (int64_t experts : {8, 64, 20}) {
      for (int64_t top_k : {1, 4}) {
        Case c(OpId::kMoeRoute, std::string(kind.name) + " " + std::to_string(experts) + " top " +
                                    std::to_string(top_k));
        c.T("logits", {3, experts}, Fill::kSpread, 1);
        if (kind.bias) c.T("correction_bias", {experts}, Fill::kSpread);
        c.T("expert_ids", {3, top_k}).T("expert_weights", {3, top_k}, Fill::kZero, 2);
        c.A("sigmoid", kind.sigmoid)
            .A("softmax_after_topk", kind.after)
            .A("normalize", kind.normalize);
        c.A("scale", kind.scale).A("num_groups", kind.groups).A("top_groups", kind.top_groups);
        c.A("group_score_top2", kind.top2);
        cases.push_back(c);
      }
    }
  }
  // All equal: ties go to the lower id.
  cases.push_back(Case(OpId::kMoeRoute, "ties")
                      .T("logits", {2, 9}, Fill::kZero)
                      .T("expert_ids", {2, 3})
                      .T("expert_weights", {2, 3})
                      .A("scale", 1)
                      .A("num_groups", 1)
                      .A("top_groups", 1));
  return cases;
}

}  // namespace rill::conformance
