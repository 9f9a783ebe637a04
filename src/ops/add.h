// Scaled sum:  y[t, i] = a[t, i] + b_scale * b[t, i]
// One f32 fma per element. Residual connections; Granite's residual multiplier is b_scale.
#pragma once

#include "ops/op_schema.h"

namespace rill::ops {

struct AddArgs {
  TensorView a;         // [num_tokens, size]  f32
  TensorView b;         // [num_tokens, size]  f32
  MutableTensorView y;  // [num_tokens, size]  f32; may be a or b itself
  float b_scale = 1.0f;
};
const OpSchema& AddSchema();

}  // namespace rill::ops
