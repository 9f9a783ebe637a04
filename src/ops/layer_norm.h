// Layer normalisation over groups of a row (one group = the whole row, or one head):
//   y[t, g, i] = (x[t, g, i] - mean) / sqrt(var + eps) * weight[g, i] + bias[g, i]
//   mean, var (population) over i in f32, canonical 16-lane order: mean first, then the mean of
//   squared differences. Source: Ba et al. 2016, arXiv:1607.06450.
#pragma once

#include "ops/op_schema.h"

namespace rill::ops {

struct LayerNormArgs {
  TensorView x;         // [num_tokens, num_groups, size]  f32, any strides, last one 1
  TensorView weight;    // [size] or [num_groups, size]    f32; optional (empty: ones)
  TensorView bias;      // as weight; optional (empty: zeros)
  MutableTensorView y;  // shape of x, f32; may be x itself
  float eps = 1e-5f;
};
const OpSchema& LayerNormSchema();

}  // namespace rill::ops
