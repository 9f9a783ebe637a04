// y[t, i] = factor * x[t, i], one f32 multiplication. (Cohere and Granite logit scales.)
#pragma once

#include "ops/op_schema.h"

namespace rill::ops {

struct ScaleArgs {
  TensorView x;         // [num_tokens, size]  f32
  MutableTensorView y;  // [num_tokens, size]  f32; may be x itself
  float factor = 1.0f;
};
const OpSchema& ScaleSchema();

}  // namespace rill::ops
