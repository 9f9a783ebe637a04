// Rotary angles of this step's positions, once per step and rope kind:
//   cos_sin[t, 2 i]     = magnitude * cos(a),  cos_sin[t, 2 i + 1] = magnitude * sin(a)
//   a = f32(positions[t]) * inv_freq[i], rounded to f32 (as transformers computes it)
// cos and sin of that f32 are correct to 1 ulp for |a| < 2^22. Scaling (linear, NTK, YaRN, llama3,
// longrope) is in inv_freq and magnitude. Source: Su et al. 2021, arXiv:2104.09864.
#pragma once

#include "ops/op_schema.h"

namespace rill::ops {

struct RopeAnglesArgs {
  TensorView positions;       // [num_tokens]  i32
  TensorView inv_freq;        // [rotary_dim / 2]  f32
  MutableTensorView cos_sin;  // [num_tokens, rotary_dim]  f32
  float magnitude = 1.0f;
};
const OpSchema& RopeAnglesSchema();

}  // namespace rill::ops
