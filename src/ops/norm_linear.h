// Norm and matrix product in one pass: the rows are normed (and quantised) on their way into the
// product, without a copy of them in between.
//   y[t, n] = sum_k norm(x[t, :])[k] * w[n, k] + bias[n]
// norm as in rms_norm.h or layer_norm.h over the whole row, products as in linear.h; bit-identical
// to the norm followed by linear.
#pragma once

#include "ops/input_norm.h"
#include "ops/op_schema.h"

namespace rill::ops {

struct NormLinearArgs {
  TensorView x;                     // [num_tokens, in_features]  f32, rows may be strided
  TensorView norm_weight;           // [in_features]  f32; optional (empty: ones)
  TensorView norm_bias;             // [in_features]  f32; optional (empty: zeros); kLayer alone
  const PackedWeight* w = nullptr;  // [out_features, in_features]
  TensorView bias;                  // [out_features]  f32; optional
  MutableTensorView y;              // [num_tokens, out_features]  f32, rows may be strided
  InputNorm norm = InputNorm::kRms;
  float eps = 1e-5f;
  float weight_bias = 0.0f;  // kRms alone
};
const OpSchema& NormLinearSchema();

}  // namespace rill::ops
