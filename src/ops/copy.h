// Strided copy:  y[t, h, i] = x[t, h, i]
// Strides of x may be 0 (broadcast): how MLA's one rotary key serves all heads. x and y must not
// overlap.
#pragma once

#include "ops/op_schema.h"

namespace rill::ops {

struct CopyArgs {
  TensorView x;         // [num_tokens, num_heads, size]  f32, any strides, last one 1
  MutableTensorView y;  // [num_tokens, num_heads, size]  f32, any strides, last one 1
};
const OpSchema& CopySchema();

}  // namespace rill::ops
