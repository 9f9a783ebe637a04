// y[t, i] = min(max(x[t, i], -limit), limit); NaN stays NaN. (OLMo's clip_qkv.)
// Source: Groeneveld et al. 2024, arXiv:2402.00838.
#pragma once

#include "ops/op_schema.h"

namespace rill::ops {

struct ClampArgs {
  TensorView x;         // [num_tokens, size]  f32
  MutableTensorView y;  // [num_tokens, size]  f32; may be x itself
  float limit = 1.0f;   // > 0
};
const OpSchema& ClampSchema();

}  // namespace rill::ops
