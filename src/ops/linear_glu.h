// Gate and up projection with the gated activation in the epilogue:
//   y[t, i] = f(sum_k x[t, k] gate[i, k] + gate_bias[i]) * (sum_k x[t, k] up[i, k] + up_bias[i])
// w holds gate and up as a paired weight (ops/weight.h). Products as in linear.h, f as in
// activation.h; bit-identical to linear followed by glu.
#pragma once

#include "ops/activation.h"
#include "ops/op_schema.h"

namespace rill::ops {

struct LinearGluArgs {
  TensorView x;                     // [num_tokens, hidden_size]  f32, rows may be strided
  const PackedWeight* w = nullptr;  // paired [2 * intermediate_size, hidden_size]
  TensorView bias;                  // [2 * intermediate_size]  f32, gate then up; optional
  MutableTensorView y;              // [num_tokens, intermediate_size]  f32
  ActivationKind kind = ActivationKind::kSilu;
};
const OpSchema& LinearGluSchema();

}  // namespace rill::ops
