// w8a8 at its widest, 131,072 columns (quant/encode_rows.h): with every code +127 or -127 a sum of
// products comes as near to the ends of int32 as any can, and every instruction set must give that
// integer.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/linear_test_util.h"
#include "quant/encode_rows.h"
#include "quant/view_rows.h"

namespace rill::cpu {
namespace {

constexpr int64_t kK = 131'072;
constexpr int64_t kLargest = int64_t{127} * 127 * kK;
static_assert(kK == quant::kMaxW8Columns);
static_assert(kLargest <= std::numeric_limits<int32_t>::max());

// `count` rows of +127 and -127: rows of one sign, both halves, turns, and random ones. The largest
// magnitude of a row is 127, so its scale is 1 and its codes are its elements.
std::vector<float> ExtremeRows(int64_t count, uint32_t seed) {
  std::mt19937 rng(seed);
  std::vector<float> x(static_cast<size_t>(count * kK));
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t k = 0; k < kK; ++k) {
      bool negative = (rng() & 1) != 0;
      if (r < 2) negative = r == 1;
      if (r == 2) negative = k >= kK / 2;
      if (r == 3) negative = k % 2 == 1;
      x[static_cast<size_t>(r * kK + k)] = negative ? -127.0f : 127.0f;
    }
  }
  return x;
}

TEST(CpuLinear, W8A8OfTheMostColumnsAndExtremeCodes_GivesTheExactInteger) {
  // More than a panel of rows, and more than a tile of tokens.
  constexpr int64_t kRows = 18, kTokens = 18;
  const std::vector<float> w = ExtremeRows(kRows, 1), x = ExtremeRows(kTokens, 2);
  std::vector<int64_t> sums;  // [kTokens, kRows]
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t n = 0; n < kRows; ++n) {
      const float *a = &x[static_cast<size_t>(t * kK)], *b = &w[static_cast<size_t>(n * kK)];
      int64_t num_equal = 0;
      for (int64_t k = 0; k < kK; ++k) num_equal += a[k] == b[k];
      sums.push_back((2 * num_equal - kK) * 127 * 127);
    }
  }
  ASSERT_EQ(*std::max_element(sums.begin(), sums.end()), kLargest);
  ASSERT_EQ(*std::min_element(sums.begin(), sums.end()), -kLargest);

  const auto made =
      quant::MakeW8Rows(quant::MakeViewRows({TensorView(w.data(), DType::kF32, {kRows, kK})}));
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  ops::WeightSource source;
  source.name = "w";
  source.parts = {TensorView(static_cast<const void*>(nullptr), DType::kI8, {kRows, kK})};
  source.readers = {*made};
  source.activations = ops::ActivationMode::kQ8;
  for (const Kernels* kernels : AvailableKernels()) {
    auto backend = MakeCpuBackend({.num_threads = 2, .cpu_isa = kernels->name});
    ASSERT_TRUE(backend.ok()) << backend.status().ToString();
    auto weight = (*backend)->PackWeight(source);
    ASSERT_TRUE(weight.ok()) << weight.status().ToString();
    for (const int64_t tokens : {int64_t{1}, int64_t{4}, kTokens}) {
      SCOPED_TRACE(std::string(kernels->name) + " " + (*weight)->Describe() + ", tokens " +
                   std::to_string(tokens));
      const std::vector<float> y = Linear(**backend, **weight, x, tokens, kRows, kK);
      for (size_t i = 0; i < y.size(); ++i) {
        // Both scales are 1: all that is rounded is the integer, to f32.
        ASSERT_EQ(y[i], static_cast<float>(sums[i]))
            << "token " << i / size_t{kRows} << ", row " << i % size_t{kRows};
      }
    }
  }
}

}  // namespace
}  // namespace rill::cpu
