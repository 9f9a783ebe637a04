// Matrix product with optional bias, residual and scale:
//   y[t, n] = residual[t, n] + scale * (sum_k x[t, k] * w[n, k] + bias[n])
//
// Arithmetic (docs/numerics.md; the same on every ISA, for every number of tokens):
//   activations kF32: one f32 fma chain over k in ascending order per output, starting from 0, with
//     w decoded to f32 exactly as quant/ decodes it.
//   activations kQ8 (quantised weights): x is quantised per group of consecutive k, as wide as
//     the weight's own group but at least 32 (u4g128, u8g128: 128; int8 per row: the whole row,
//     which is a scale per token; rows that are no multiple of 32 stay f32):
//     m = max|x|,  d = m / 127,  q = round_to_nearest_even(x * (127 / m)) in [-127, 127];
//     m < 2^-100 counts as 0 (d = 0, q = 0).
//     Dot products are exact integers inside the weight's own group (16 wide to a whole row); each
//     group's integer is converted once and added with one f32 fma in ascending group order;
//     an offset or zero point is part of that integer; a minimum adds its term by a second fma.
//   both: where a weight stores its columns in an order of its own (RowReader::Order),
//     k runs in that order.
//   then bias, scale and residual:  fma(scale, acc + bias, residual), each step rounded to f32;
//     without residual scale * (acc + bias); scale == 1 and no bias: acc itself.
// NaN or Inf in a row of x affects that row of y only.
#pragma once

#include "ops/op_schema.h"

namespace rill::ops {

struct LinearArgs {
  TensorView x;                     // [num_tokens, in_features]  f32, rows may be strided
  const PackedWeight* w = nullptr;  // [out_features, in_features]
  TensorView bias;                  // [out_features]  f32; optional
  TensorView residual;              // [num_tokens, out_features]  f32; optional; may be y itself
  MutableTensorView y;              // [num_tokens, out_features]  f32, rows may be strided
  float scale = 1.0f;
};
const OpSchema& LinearSchema();

}  // namespace rill::ops
