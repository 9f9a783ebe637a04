// A whole gated feed-forward block: norm, gate and up projection, activation, down projection,
// residual. The inner rows need not exist in memory as f32: they are quantised where they are made.
//   n = norm(x[t, :]);  a[i] = f(gate_i . n + gate_bias[i]) * (up_i . n + up_bias[i])
//   y[t, :] = residual[t, :] + scale * (down a + down_bias)
// norm as in rms_norm.h or layer_norm.h over the whole row, or none; the rest as in linear_glu.h
// and linear.h; bit-identical to these one after the other.
#pragma once

#include "ops/activation.h"
#include "ops/input_norm.h"
#include "ops/op_schema.h"

namespace rill::ops {

struct GatedFfnArgs {
  TensorView x;                           // [num_tokens, hidden_size]  f32, rows may be strided
  TensorView norm_weight;                 // [hidden_size]  f32; optional (empty: ones)
  TensorView norm_bias;                   // [hidden_size]  f32; optional (empty: zeros)
  const PackedWeight* gate_up = nullptr;  // paired [2 * intermediate_size, hidden_size]
  TensorView gate_up_bias;                // [2 * intermediate_size]  f32, gate then up; optional
  const PackedWeight* down = nullptr;     // [hidden_size, intermediate_size]
  TensorView down_bias;                   // [hidden_size]  f32; optional
  TensorView residual;                    // [num_tokens, hidden_size]  f32; optional; may be y
  MutableTensorView y;                    // [num_tokens, hidden_size]  f32; may be x itself
  InputNorm norm = InputNorm::kNone;
  float eps = 1e-5f;
  float weight_bias = 0.0f;  // kRms alone
  ActivationKind kind = ActivationKind::kSilu;
  float scale = 1.0f;
};
const OpSchema& GatedFfnSchema();

}  // namespace rill::ops
