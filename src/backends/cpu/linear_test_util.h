// For tests of products: random rows, and one product.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "ops/backend.h"

namespace rill::cpu {

// n normal numbers.
inline std::vector<float> RandomFloats(int64_t n, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = normal(rng);
  return x;
}

// y [tokens, rows] = x [tokens, cols] w^T; w [rows, cols], x as many rows as `tokens` or more.
inline std::vector<float> Linear(ops::Backend& backend, const ops::PackedWeight& w,
                                 const std::vector<float>& x, int64_t tokens, int64_t rows,
                                 int64_t cols) {
  std::vector<float> y(static_cast<size_t>(tokens * rows));
  ops::LinearArgs args;
  args.x = TensorView(x.data(), DType::kF32, {tokens, cols});
  args.w = &w;
  args.y = MutableTensorView(y.data(), DType::kF32, {tokens, rows});
  backend.ops().linear(args, backend.stream());
  return y;
}

}  // namespace rill::cpu
