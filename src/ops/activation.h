// Elementwise activation:
//   y[t, i] = f(x[t, i])
//   kSilu      x / (1 + e^-x)
//   kGelu      x * (1 + erf(x / sqrt 2)) / 2            Hendrycks & Gimpel 2016, arXiv:1606.08415
//   kGeluTanh  x * (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2
//   kQuickGelu x / (1 + e^(-1.702 x))
//   kRelu      max(x, 0);  kRelu2  max(x, 0)^2;  kIdentity  x
// Computed in f32. NaN in, NaN out; +-Inf as the limit of the formula (silu(-Inf) = 0).
#pragma once

#include "ops/op_schema.h"

namespace rill::ops {

enum class ActivationKind : int32_t {
  kSilu,
  kGelu,
  kGeluTanh,
  kQuickGelu,
  kRelu,
  kRelu2,
  kIdentity
};

struct ActivationArgs {
  TensorView x;         // [num_tokens, size]  f32, rows may be strided
  MutableTensorView y;  // [num_tokens, size]  f32; may be x itself
  ActivationKind kind = ActivationKind::kSilu;
};
const OpSchema& ActivationSchema();

}  // namespace rill::ops
