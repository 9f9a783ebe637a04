// Gated linear unit, elementwise half:  y[t, i] = f(gate[t, i]) * up[t, i]
// f as in activation.h. Source: Shazeer 2020, arXiv:2002.05202. gate and up are usually the two
// column halves of one [num_tokens, 2 * intermediate_size] buffer.
#pragma once

#include "ops/activation.h"
#include "ops/op_schema.h"

namespace rill::ops {

struct GluArgs {
  TensorView gate;      // [num_tokens, intermediate_size]  f32, rows may be strided
  TensorView up;        // [num_tokens, intermediate_size]  f32, rows may be strided
  MutableTensorView y;  // [num_tokens, intermediate_size]  f32; may be gate itself
  ActivationKind kind = ActivationKind::kSilu;
};
const OpSchema& GluSchema();

}  // namespace rill::ops
