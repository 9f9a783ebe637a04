// y[t, i] = cap * tanh(x[t, i] / cap). (Gemma 2 final logits.)  Source: arXiv:2408.00118, sec. 2.
#pragma once

#include "ops/op_schema.h"

namespace rill::ops {

struct SoftcapArgs {
  TensorView x;         // [num_tokens, size]  f32
  MutableTensorView y;  // [num_tokens, size]  f32; may be x itself
  float cap = 30.0f;    // > 0
};
const OpSchema& SoftcapSchema();

}  // namespace rill::ops
