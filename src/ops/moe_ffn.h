// Mixture of gated feed-forward experts, tokens batched by expert:
//   y[t, :] = residual[t, :] + sum_j expert_weights[t, j] * down_e(f(gate_e x[t]) * (up_e x[t])),
//   e = expert_ids[t, j]; terms are added with one f32 fma each in ascending j, starting from 0,
//   and the residual is added last. Products as in linear.h. ungated: down_e(f(up_e x)), gate_up is
//   then a plain (not paired) [intermediate_size, hidden_size] weight.
#pragma once

#include "ops/activation.h"
#include "ops/op_schema.h"

namespace rill::ops {

struct MoeFfnArgs {
  TensorView x;               // [num_tokens, hidden_size]  f32
  TensorView expert_ids;      // [num_tokens, top_k]  i32, each in [0, num_experts)
  TensorView expert_weights;  // [num_tokens, top_k]  f32
  const PackedWeight* gate_up =
      nullptr;                         // paired [num_experts, 2 * intermediate_size, hidden_size]
  const PackedWeight* down = nullptr;  // [num_experts, hidden_size, intermediate_size]
  TensorView residual;                 // [num_tokens, hidden_size]  f32; optional; may be y
  MutableTensorView y;                 // [num_tokens, hidden_size]  f32
  ActivationKind kind = ActivationKind::kSilu;
  bool ungated = false;
};
const OpSchema& MoeFfnSchema();

}  // namespace rill::ops
