// Gate and up projection with the gated activation in the epilogue:
//   n = norm(x[t, :])
//   y[t, i] = f(sum_k n[k] gate[i, k] + gate_bias[i]) * (sum_k n[k] up[i, k] + up_bias[i])
// w holds gate and up as a paired weight (ops/weight.h). norm as in rms_norm.h or layer_norm.h over
// the whole row, or none; products as in linear.h, f as in activation.h; bit-identical to the norm,
// linear and glu one after the other.
#pragma once

#include "ops/activation.h"
#include "ops/input_norm.h"
#include "ops/op_schema.h"

namespace rill::ops {

struct LinearGluArgs {
  TensorView x;                     // [num_tokens, hidden_size]  f32, rows may be strided
  TensorView norm_weight;           // [hidden_size]  f32; optional (empty: ones)
  TensorView norm_bias;             // [hidden_size]  f32; optional (empty: zeros); kLayer alone
  const PackedWeight* w = nullptr;  // paired [2 * intermediate_size, hidden_size]
  TensorView bias;                  // [2 * intermediate_size]  f32, gate then up; optional
  MutableTensorView y;              // [num_tokens, intermediate_size]  f32
  ActivationKind kind = ActivationKind::kSilu;
  InputNorm norm = InputNorm::kNone;
  float eps = 1e-5f;
  float weight_bias = 0.0f;  // kRms alone
};
const OpSchema& LinearGluSchema();

}  // namespace rill::ops
