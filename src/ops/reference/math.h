// Small f64 formulas that several reference kernels share.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <vector>

#include "ops/activation.h"
#include "ops/input_norm.h"
#include "tensor/tensor_view.h"

namespace rill::ops::reference {

// f(x) of activation.h. The smooth kinds give 0 at -Inf (the limit), where the formula as written
// would be Inf * 0.
inline double Activate(ActivationKind kind, double x) {
  const bool minus_inf = x == -std::numeric_limits<double>::infinity();
  switch (kind) {
    case ActivationKind::kSilu: return minus_inf ? 0 : x / (1 + std::exp(-x));
    case ActivationKind::kGelu: return minus_inf ? 0 : x * std::erfc(-x / std::numbers::sqrt2) / 2;
    case ActivationKind::kGeluTanh: {
      if (minus_inf) return 0;
      // (1 + tanh(z)) / 2 = 1 / (1 + e^-2z): no cancellation for z << 0.
      const double z = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
      return x / (1 + std::exp(-2 * z));
    }
    case ActivationKind::kQuickGelu: return minus_inf ? 0 : x / (1 + std::exp(-1.702 * x));
    case ActivationKind::kRelu: return x < 0 ? 0 : x;
    case ActivationKind::kRelu2: return x < 0 ? 0 : x * x;
    case ActivationKind::kIdentity: return x;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

// Pointer to x[i, j, :] of a rank-3 f32 view.
template <typename View>
auto* RowOf(const View& view, int64_t i, int64_t j) {
  return view.template As<float>() + i * view.stride(0) + j * view.stride(1);
}

// Row `group` of a norm parameter that is [size] or [num_groups, size]; nullptr when absent.
inline const float* GroupRow(const TensorView& view, int64_t group) {
  if (view.empty()) return nullptr;
  return view.rank() == 1 ? view.As<float>() : view.Row<float>(group);
}

// One row of rms_norm.h. x may be y.
inline void RmsNormRow(const float* x, const float* weight, int64_t size, double eps,
                       double weight_bias, float* y) {
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += double{x[i]} * x[i];
  const double inverse = 1 / std::sqrt(sum / static_cast<double>(size) + eps);
  for (int64_t i = 0; i < size; ++i) {
    y[i] = static_cast<float>(x[i] * inverse * (weight ? weight[i] + weight_bias : 1));
  }
}

// One row of layer_norm.h. x may be y.
inline void LayerNormRow(const float* x, const float* weight, const float* bias, int64_t size,
                         double eps, float* y) {
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += x[i];
  const double mean = sum / static_cast<double>(size);
  double squares = 0;
  for (int64_t i = 0; i < size; ++i) squares += (x[i] - mean) * (x[i] - mean);
  const double inverse = 1 / std::sqrt(squares / static_cast<double>(size) + eps);
  for (int64_t i = 0; i < size; ++i) {
    y[i] = static_cast<float>((x[i] - mean) * inverse * (weight ? weight[i] : 1) +
                              (bias ? bias[i] : 0));
  }
}

// Rows of x [num_tokens, size], normed.
class NormedRows {
 public:
  NormedRows(InputNorm kind, const TensorView& x, const TensorView& weight, const TensorView& bias,
             double eps, double weight_bias) {
    const int64_t size = x.dim(1);
    if (kind != InputNorm::kNone) values_.resize(static_cast<size_t>(x.dim(0) * size));
    for (int64_t t = 0; t < x.dim(0); ++t) {
      const float* row = x.Row<float>(t);
      float* normed = values_.data() + t * size;
      if (kind == InputNorm::kRms) {
        RmsNormRow(row, GroupRow(weight, 0), size, eps, weight_bias, normed);
      } else if (kind == InputNorm::kLayer) {
        LayerNormRow(row, GroupRow(weight, 0), GroupRow(bias, 0), size, eps, normed);
      }
      pointers_.push_back(kind == InputNorm::kNone ? row : normed);
    }
  }
  const std::vector<const float*>& pointers() const { return pointers_; }

 private:
  std::vector<float> values_;
  std::vector<const float*> pointers_;
};

}  // namespace rill::ops::reference
