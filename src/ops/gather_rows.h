// Row selection:  y[r, :] = x[rows[r], :]
// Only rows that sample go on behind the last layer's attention.
#pragma once

#include "ops/op_schema.h"

namespace rill::ops {

struct GatherRowsArgs {
  TensorView x;         // [num_tokens, size]  f32
  TensorView rows;      // [num_rows]  i32, each in [0, num_tokens)
  MutableTensorView y;  // [num_rows, size]  f32
};
const OpSchema& GatherRowsSchema();

}  // namespace rill::ops
