// Rotary position embedding, in place, of the first rotary_dim elements of each head:
//   (x_a, x_b) <- (x_a cos - x_b sin, x_b cos + x_a sin)
//   half:        a = i, b = i + rotary_dim / 2       (Hugging Face, NeoX)
//   interleaved: a = 2 i, b = 2 i + 1                (original, GPT-J, GGUF llama)
// Each result is fma(x_a, cos, -(x_b * sin)) and fma(x_b, cos, x_a * sin), f32.
#pragma once

#include "ops/op_schema.h"

namespace rill::ops {

struct RopeArgs {
  MutableTensorView
      x;  // [num_tokens, num_heads, head_dim]  f32, in and out, any strides, last one 1
  TensorView cos_sin;  // [num_tokens, rotary_dim]  f32, from rope_angles; rotary_dim <= head_dim
  bool interleaved = false;
};
const OpSchema& RopeSchema();

}  // namespace rill::ops
