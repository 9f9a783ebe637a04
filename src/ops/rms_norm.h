// Root-mean-square normalisation over groups of a row (one group = the whole row, or one head):
//   y[t, g, i] = x[t, g, i] / sqrt(mean_i(x[t, g, :]^2) + eps) * (weight[g, i] + weight_bias)
// Sum of squares in f32, canonical 16-lane order. Source: Zhang & Sennrich 2019,
// arXiv:1910.07467, eq. 4. Gemma stores weight - 1: weight_bias = 1.
#pragma once

#include "ops/op_schema.h"

namespace rill::ops {

struct RmsNormArgs {
  TensorView x;         // [num_tokens, num_groups, size]  f32, any strides, last one 1
  TensorView weight;    // [size] or [num_groups, size]    f32; optional (empty: ones)
  MutableTensorView y;  // shape of x, f32; may be x itself
  float eps = 1e-5f;
  float weight_bias = 0.0f;
};
const OpSchema& RmsNormSchema();

}  // namespace rill::ops
