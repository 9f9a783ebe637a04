// Expert choice per token, from router logits:
//   score = softmax(logits) | sigmoid(logits), f32
//   choice = score + correction_bias (when given; chooses, does not weigh)
//   with num_groups > 1: experts are split into num_groups equal groups; a group's worth is its
//   best
//     choice (group_score_top2: the sum of its two best); only the top_groups best groups stay
//   expert_ids[t, :] = the top_k largest choices, ties to the lower id, in descending order
//   expert_weights[t, :] = their scores, divided by their sum (+1e-20) when normalize, then * scale
// softmax_after_topk (gpt-oss, Mixtral-equivalent): choose by logits, softmax over the chosen only.
// Sources: Mixtral arXiv:2401.04088; DeepSeek-V2/V3 arXiv:2405.04434, 2412.19437.
#pragma once

#include "ops/op_schema.h"

namespace rill::ops {

struct MoeRouteArgs {
  TensorView logits;                 // [num_tokens, num_experts]  f32
  TensorView correction_bias;        // [num_experts]  f32; optional
  MutableTensorView expert_ids;      // [num_tokens, top_k]  i32
  MutableTensorView expert_weights;  // [num_tokens, top_k]  f32
  bool sigmoid = false;
  bool softmax_after_topk = false;
  bool normalize = false;
  float scale = 1.0f;
  int32_t num_groups = 1;
  int32_t top_groups = 1;
  bool group_score_top2 = false;
};
const OpSchema& MoeRouteSchema();

}  // namespace rill::ops
