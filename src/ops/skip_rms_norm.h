// Residual add and RMSNorm in one pass (reference-systems: SkipRMSNorm):
//   h[t, :] = x[t, :] + skip[t, :];  y[t, :] = rms_norm(h[t, :]) as in rms_norm.h
#pragma once

#include "ops/op_schema.h"

namespace rill::ops {

struct SkipRmsNormArgs {
  TensorView x;         // [num_tokens, hidden_size]  f32
  TensorView skip;      // [num_tokens, hidden_size]  f32
  TensorView weight;    // [hidden_size]  f32
  MutableTensorView h;  // [num_tokens, hidden_size]  f32; may be x or skip itself
  MutableTensorView y;  // [num_tokens, hidden_size]  f32; apart from h; may be x or skip itself
  float eps = 1e-5f;
  float weight_bias = 0.0f;
};
const OpSchema& SkipRmsNormSchema();

}  // namespace rill::ops
