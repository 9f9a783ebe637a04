#include "ops/moe_route.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& MoeRouteSchema() {
  using A = MoeRouteArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kMoeRoute, "moe_route", "Expert choice per token, from router logits")
          .Formula(
              "score = softmax(logits) | sigmoid(logits), f32\n"
              "choice = score + correction_bias (when given; chooses, does not weigh)\n"
              "expert_ids[t, :] = the top_k largest choices, ties to the lower id, in descending "
              "order\n"
              "expert_weights[t, :] = their scores, divided by their sum (+1e-20) when normalize, "
              "then * scale")
          .Source("Mixtral arXiv:2401.04088; DeepSeek-V2/V3 arXiv:2405.04434, 2412.19437")
          .Tags({"moe"})
          .In("logits", &A::logits, "num_tokens, num_experts", "router logits")
          .In("correction_bias", &A::correction_bias, "num_experts",
              "added to scores for the choice only")
          .Optional()
          .Out("expert_ids", &A::expert_ids, "num_tokens, top_k", "chosen experts, best first")
          .DTypes({DType::kI32})
          .Out("expert_weights", &A::expert_weights, "num_tokens, top_k", "their weights")
          .Attribute("sigmoid", &A::sigmoid, "scores are sigmoid(logits), not softmax(logits)")
          .Attribute("softmax_after_topk", &A::softmax_after_topk,
                     "choose by logits, softmax over the chosen only")
          .Attribute("normalize", &A::normalize, "divide the weights by their sum")
          .Attribute("scale", &A::scale, "last factor of the weights")
          .Attribute("num_groups", &A::num_groups, "equal groups of experts")
          .Range(1, 1 << 20)
          .Attribute("top_groups", &A::top_groups, "groups that stay")
          .Range(1, 1 << 20)
          .Attribute("group_score_top2", &A::group_score_top2,
                     "a group is worth the sum of its two best choices, not its best")
          .Constraint("num_experts % num_groups == 0")
          .Constraint("top_groups <= num_groups")
          .Constraint("top_k <= top_groups*num_experts/num_groups")
          .Build();
  return schema;
}

}  // namespace rill::ops
