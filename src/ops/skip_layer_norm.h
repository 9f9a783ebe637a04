// Residual add and LayerNorm in one pass:
//   h[t, :] = x[t, :] + skip[t, :];  y[t, :] = layer_norm(h[t, :]) as in layer_norm.h
#pragma once

#include "ops/op_schema.h"

namespace rill::ops {

struct SkipLayerNormArgs {
  TensorView x;         // [num_tokens, hidden_size]  f32
  TensorView skip;      // [num_tokens, hidden_size]  f32
  TensorView weight;    // [hidden_size]  f32; optional
  TensorView bias;      // [hidden_size]  f32; optional
  MutableTensorView h;  // [num_tokens, hidden_size]  f32; may be x or skip itself
  MutableTensorView y;  // [num_tokens, hidden_size]  f32; apart from h; may be x or skip itself
  float eps = 1e-5f;
};
const OpSchema& SkipLayerNormSchema();

}  // namespace rill::ops
