// rope(q), rope(k) and kv_append(k, v) in one pass: q is rotated in place, k is rotated on its way
// into the page (the k buffer itself is left unspecified). Bit-identical to the three ops.
#pragma once

#include "ops/op_schema.h"

namespace rill::ops {

struct RopeKvAppendArgs {
  MutableTensorView q;  // [num_tokens, num_heads, k_dim]  f32, in and out
  MutableTensorView k;  // [num_tokens, num_kv_heads, k_dim]  f32, in; unspecified after
  TensorView v;         // [num_tokens, num_kv_heads, v_dim]  f32
  TensorView cos_sin;   // [num_tokens, rotary_dim]  f32
  const PagedKvView* kv = nullptr;
  int32_t layer = 0;
  bool interleaved = false;
};
const OpSchema& RopeKvAppendSchema();

}  // namespace rill::ops
