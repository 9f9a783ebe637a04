// AWQ, GPTQ and load-time quantisation against their definitions, element by element.
// tests/oracle/test_weight_formats.py compares whole networks with NumPy.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "base/float_types.h"
#include "quant/awq.h"
#include "quant/dequant.h"
#include "quant/encode_rows.h"
#include "quant/gptq.h"
#include "quant/grouped.h"
#include "quant/quantize.h"
#include "quant/view_rows.h"

namespace rill::quant {
namespace {

#define ASSERT_OK(status) ASSERT_TRUE((status).ok()) << (status).ToString()

constexpr int64_t kRows = 64, kCols = 256;

std::vector<int32_t> RandomWords(int64_t count, uint32_t seed) {
  std::mt19937 rng(seed);
  std::vector<int32_t> words(static_cast<size_t>(count));
  for (int32_t& w : words) w = static_cast<int32_t>(rng());
  return words;
}
std::vector<uint16_t> RandomScales(int64_t count) {
  std::mt19937 rng(3);
  std::vector<uint16_t> scales(static_cast<size_t>(count));
  for (uint16_t& s : scales) s = F32ToF16(std::uniform_real_distribution<float>(0.01f, 0.1f)(rng));
  return scales;
}
TensorView I32(const std::vector<int32_t>& words, int64_t rows, int64_t cols) {
  return TensorView(words.data(), DType::kI32, {rows, cols});
}
// Code `index` of a bit stream whose words are `stride` apart.
int Stream(const int32_t* words, int64_t stride, int64_t index, int bits) {
  int code = 0;
  for (int b = 0; b < bits; ++b) {
    const int64_t bit = index * bits + b;
    code |= static_cast<int>((static_cast<uint32_t>(words[bit / 32 * stride]) >> (bit % 32)) & 1u)
            << b;
  }
  return code;
}

// Every range of rows gives the same as one row at a time.
void ExpectRangesAgree(const RowReader& rows) {
  const int64_t bytes = *RowBytes(rows.dtype(), rows.cols());
  std::vector<uint8_t> all(static_cast<size_t>(bytes * rows.rows()));
  rows.Read(0, 0, rows.rows(), all.data(), nullptr);
  for (const auto& [begin, count] :
       {std::pair<int64_t, int64_t>{0, 16}, {5, 1}, {3, 20}, {63, 1}}) {
    std::vector<uint8_t> some(static_cast<size_t>(bytes * count));
    rows.Read(0, begin, count, some.data(), nullptr);
    EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin() + begin * bytes));
  }
}

TEST(AwqRows, EveryElement_IsTheDefinition) {
  constexpr int kNibble[8] = {0, 4, 1, 5, 2, 6, 3, 7};
  for (int64_t group : {32, 64, 128, -1}) {
    const int64_t size = group < 0 ? kCols : group;
    const auto codes = RandomWords(kCols * kRows / 8, 1);
    const auto zeros = RandomWords(kCols / size * kRows / 8, 2);
    const auto scales = RandomScales(kCols / size * kRows);
    auto rows =
        MakeAwqRows({.qweight = I32(codes, kCols, kRows / 8),
                     .qzeros = I32(zeros, kCols / size, kRows / 8),
                     .scales = TensorView(scales.data(), DType::kF16, {kCols / size, kRows}),
                     .rows = kRows,
                     .cols = kCols,
                     .group_size = group});
    ASSERT_OK(rows.status());
    std::vector<float> row(kCols);
    for (int64_t n = 0; n < kRows; ++n) {
      DecodeRow(**rows, 0, n, row.data());
      for (int64_t k = 0; k < kCols; ++k) {
        const auto nibble = [&](const std::vector<int32_t>& words, int64_t r) {
          const auto word =
              static_cast<uint32_t>(words[static_cast<size_t>(r * kRows / 8 + n / 8)]);
          return static_cast<int>((word >> (4 * kNibble[n % 8])) & 15u);
        };
        const float scale = F16ToF32(scales[static_cast<size_t>(k / size * kRows + n)]);
        const auto want = scale * static_cast<float>(nibble(codes, k) - nibble(zeros, k / size));
        ASSERT_EQ(row[static_cast<size_t>(k)], want) << group << ": " << n << ", " << k;
      }
    }
    ExpectRangesAgree(**rows);
  }
}

TEST(GptqRows, EveryElement_IsTheDefinition_AtEveryWidthAndOrder) {
  for (int bits : {2, 3, 4, 8}) {
    for (bool act_order : {false, true}) {
      constexpr int64_t kGroup = 64, kGroups = kCols / kGroup;
      const auto codes = RandomWords(kCols * bits / 32 * kRows, 1);
      const auto zeros = RandomWords(kGroups * kRows * bits / 32, 2);
      const auto scales = RandomScales(kGroups * kRows);
      std::vector<int32_t> g_idx(kCols);
      for (int64_t k = 0; k < kCols; ++k)
        g_idx[static_cast<size_t>(k)] = static_cast<int32_t>(k / kGroup);
      if (act_order) std::shuffle(g_idx.begin(), g_idx.end(), std::mt19937(9));
      auto rows = MakeGptqRows({.qweight = I32(codes, kCols * bits / 32, kRows),
                                .qzeros = I32(zeros, kGroups, kRows * bits / 32),
                                .scales = TensorView(scales.data(), DType::kF16, {kGroups, kRows}),
                                .g_idx = TensorView(g_idx.data(), DType::kI32, {kCols}),
                                .rows = kRows,
                                .cols = kCols,
                                .bits = bits,
                                .group_size = kGroup,
                                .zeros_minus_one = false});
      ASSERT_OK(rows.status());
      const auto order = (*rows)->Order(0);
      ASSERT_EQ(order.size(), act_order ? size_t{kCols} : 0u);
      std::vector<float> row(kCols);
      for (int64_t n = 0; n < kRows; ++n) {
        DecodeRow(**rows, 0, n, row.data());
        for (int64_t i = 0; i < kCols; ++i) {
          const int64_t k = act_order ? order[static_cast<size_t>(i)] : i;
          const int64_t g = g_idx[static_cast<size_t>(k)];
          const int q = Stream(codes.data() + n, kRows, k, bits);
          const int z = Stream(zeros.data() + g * kRows * bits / 32, 1, n, bits);
          const float scale = F16ToF32(scales[static_cast<size_t>(g * kRows + n)]);
          ASSERT_EQ(row[static_cast<size_t>(i)], scale * static_cast<float>(q - z))
              << bits << " bits: " << n << ", " << k;
        }
      }
      ExpectRangesAgree(**rows);
    }
  }
}

TEST(GptqRows, SymmetricEightBits_AreQ8_0) {
  const auto codes = RandomWords(kCols / 4 * 8, 1);
  std::vector<int32_t> zeros(2, 0x7F7F7F7F);
  const std::vector<uint16_t> scales(8, F32ToF16(0.5f));
  const auto make = [&] {
    return MakeGptqRows({.qweight = I32(codes, kCols / 4, 8),
                         .qzeros = I32(zeros, 1, 2),
                         .scales = TensorView(scales.data(), DType::kF16, {1, 8}),
                         .g_idx = {},
                         .rows = 8,
                         .cols = kCols,
                         .bits = 8});
  };
  auto symmetric = make();
  zeros[1] = 0x7F7F7F7E;  // one zero point of 127
  auto other = make();
  ASSERT_OK(symmetric.status());
  ASSERT_OK(other.status());
  EXPECT_EQ((*symmetric)->dtype(), DType::kQ8_0);
  EXPECT_EQ((*other)->dtype(), DType::kU8G128);
  std::vector<float> a(kCols), b(kCols);
  for (int64_t n = 0; n < 8; ++n) {
    DecodeRow(**symmetric, 0, n, a.data());
    DecodeRow(**other, 0, n, b.data());
    for (size_t k = 0; k < a.size(); ++k) ASSERT_EQ(a[k] + (n == 4 ? 0.5f : 0.0f), b[k]);
  }
}

TEST(GptqRows, ZeroPointsOfV1_AreOneMore_WithCarry) {
  const std::vector<int32_t> codes(kCols / 8 * 8, 0);
  // Fields from the lowest: 7 7 7 7 7 7 7 7, and a zero point of 0 that borrowed: 15, then 6.
  for (const auto& [word, want] :
       {std::pair<uint32_t, std::vector<int>>{0x77777777u, {8, 8, 8, 8, 8, 8, 8, 8}},
        {0x7777776Fu, {0, 8, 8, 8, 8, 8, 8, 8}}}) {
    const std::vector<int32_t> zeros = {static_cast<int32_t>(word)};
    const std::vector<uint16_t> scales(8, F32ToF16(1.0f));
    auto rows = MakeGptqRows({.qweight = I32(codes, kCols / 8, 8),
                              .qzeros = I32(zeros, 1, 1),
                              .scales = TensorView(scales.data(), DType::kF16, {1, 8}),
                              .g_idx = {},
                              .rows = 8,
                              .cols = kCols});
    ASSERT_OK(rows.status());
    std::vector<float> row(kCols);
    for (int64_t n = 0; n < 8; ++n) {
      DecodeRow(**rows, 0, n, row.data());
      EXPECT_EQ(row[0], static_cast<float>(-want[static_cast<size_t>(n)]));
    }
  }
}

// 32 zero points as words of 3 bits.
std::vector<int32_t> PackInt3(const std::vector<int>& fields) {
  std::vector<uint32_t> words(fields.size() * 3 / 32);
  for (size_t i = 0; i < fields.size() * 3; ++i) {
    words[i / 32] |= static_cast<uint32_t>(fields[i / 3] >> (i % 3) & 1) << (i % 32);
  }
  return {words.begin(), words.end()};
}

TEST(GptqRows, Int3ZeroPointsOfV1_AreReadAsTheirWriterMadeThem) {
  const std::vector<int32_t> codes(kCols * 3 / 32 * kRows, 0);
  const std::vector<uint16_t> scales(kRows, F32ToF16(1.0f));
  std::vector<int> random(kRows);
  std::mt19937 rng(4);
  for (int& z : random) z = static_cast<int>(rng() % 8);
  const auto load = [&](const std::vector<int32_t>& zeros, Int3Zeros writer) {
    return MakeGptqRows({.qweight = I32(codes, kCols * 3 / 32, kRows),
                         .qzeros = I32(zeros, 1, kRows * 3 / 32),
                         .scales = TensorView(scales.data(), DType::kF16, {1, kRows}),
                         .g_idx = {},
                         .rows = kRows,
                         .cols = kCols,
                         .bits = 3,
                         .int3_zeros = writer});
  };
  const auto expect = [&](const Result<std::shared_ptr<const RowReader>>& rows,
                          const std::vector<int>& want) {
    ASSERT_OK(rows.status());
    std::vector<float> row(kCols);
    for (int64_t n = 0; n < kRows; ++n) {
      DecodeRow(**rows, 0, n, row.data());
      ASSERT_EQ(row[0], static_cast<float>(-want[static_cast<size_t>(n)])) << n;
    }
  };
  const std::vector<int> fours(kRows, 4);
  for (const std::vector<int>& z : {random, fours}) {
    std::vector<int> less = z;
    for (int& field : less) field = (field + 7) % 8;
    std::vector<int32_t> words = PackInt3(z);
    constexpr uint32_t kTaken[3] = {0x24924924u, 0x92492492u, 0x49249249u};
    for (size_t i = 0; i < words.size(); ++i) {
      words[i] = static_cast<int32_t>(static_cast<uint32_t>(words[i]) - kTaken[i % 3]);
    }
    expect(load(PackInt3(less), Int3Zeros::kFields), z);
    expect(load(words, Int3Zeros::kWords), z);
    if (z == fours) {  // these tell it themselves
      for (Int3Zeros writer : {Int3Zeros::kFields, Int3Zeros::kWords, Int3Zeros::kUnknown}) {
        expect(load(PackInt3(less), writer), z);
        expect(load(words, writer), z);
      }
    } else {
      for (const auto& zeros : {PackInt3(less), words}) {
        const Status status = load(zeros, Int3Zeros::kUnknown).status();
        EXPECT_EQ(status.code(), StatusCode::kUnsupported);
        EXPECT_NE(status.message().find("meta.quantizer"), std::string::npos);
      }
    }
  }
}

TEST(GptqRows, BadGroups_AreRefused) {
  const auto codes = RandomWords(kCols / 8 * 8, 1);
  const std::vector<int32_t> zeros(2, 0);
  const std::vector<uint16_t> scales(16, F32ToF16(1.0f));
  std::vector<int32_t> g_idx(kCols, 0);
  const auto make = [&] {
    return MakeGptqRows({.qweight = I32(codes, kCols / 8, 8),
                         .qzeros = I32(zeros, 2, 1),
                         .scales = TensorView(scales.data(), DType::kF16, {2, 8}),
                         .g_idx = TensorView(g_idx.data(), DType::kI32, {kCols}),
                         .rows = 8,
                         .cols = kCols,
                         .group_size = 128})
        .status();
  };
  for (int32_t bad : {2, -1, INT32_MIN, INT32_MAX}) {
    g_idx[77] = bad;
    EXPECT_EQ(make().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(make().message().find("element 77: expected a group in [0, 2)"), std::string::npos);
  }
  g_idx[77] = 1;  // groups of 255 and 1
  EXPECT_EQ(make().code(), StatusCode::kUnsupported);
  EXPECT_NE(make().message().find("no multiple of 32"), std::string::npos);
}

TEST(GroupedScales, ThatF16CannotHold_AreRefused) {
  const auto codes = RandomWords(kCols, 1);
  const std::vector<int32_t> zeros(1, 0);
  std::vector<float> scales(8, 0.25f);
  const auto make = [&] {
    return MakeAwqRows({.qweight = I32(codes, kCols, 1),
                        .qzeros = I32(zeros, 1, 1),
                        .scales = TensorView(scales.data(), DType::kF32, {1, 8}),
                        .rows = 8,
                        .cols = kCols})
        .status();
  };
  ASSERT_OK(make());
  scales[3] = 0.1f;
  EXPECT_EQ(make().code(), StatusCode::kUnsupported);
  EXPECT_NE(make().message().find("element 3"), std::string::npos) << make().message();
}

std::vector<float> RandomWeights(int64_t count) {
  std::mt19937 rng(5);
  std::vector<float> w(static_cast<size_t>(count));
  for (float& v : w) v = std::normal_distribution<float>()(rng);
  return w;
}

// Rounding to the nearest code is off by at most half a step; the last term is the f32 rounding of
// scale and product.
TEST(EncodeRows, W8_IsWithinHalfAStep) {
  const auto w = RandomWeights(kRows * kCols);
  auto rows = MakeW8Rows(MakeViewRows({TensorView(w.data(), DType::kF32, {kRows, kCols})}));
  ASSERT_OK(rows.status());
  EXPECT_EQ((*rows)->dtype(), DType::kI8);
  std::vector<float> row(kCols);
  for (int64_t n = 0; n < kRows; ++n) {
    const float* want = &w[static_cast<size_t>(n * kCols)];
    float largest = 0;
    for (int64_t k = 0; k < kCols; ++k) largest = std::max(largest, std::fabs(want[k]));
    DecodeRow(**rows, 0, n, row.data());
    for (int64_t k = 0; k < kCols; ++k) {
      EXPECT_NEAR(row[static_cast<size_t>(k)], want[k], largest / 254 + largest * 0x1p-21f);
    }
  }
}

TEST(EncodeRows, W8_ZeroNanAndSubnormalRows) {
  std::vector<float> w(4 * 32, 0.0f);
  w[32] = NAN;
  w[64] = 1e-44f;
  w[96] = INFINITY;
  auto rows = MakeW8Rows(MakeViewRows({TensorView(w.data(), DType::kF32, {4, 32})}));
  ASSERT_OK(rows.status());
  std::vector<uint8_t> codes(4 * 32);
  float scales[4];
  (*rows)->Read(0, 0, 4, codes.data(), scales);
  EXPECT_EQ(scales[0], 0.0f);
  EXPECT_TRUE(std::isnan(scales[1]));
  EXPECT_EQ(scales[2], 0.0f);
  EXPECT_TRUE(std::isnan(scales[3]));
  for (uint8_t code : codes) EXPECT_EQ(code, 0);
}

TEST(EncodeRows, W8_MoreColumnsThanASumInInt32Has_IsRefused) {
  const std::vector<float> w(131'104, 1.0f);
  const auto make = [&](int64_t cols) {
    return MakeW8Rows(MakeViewRows({TensorView(w.data(), DType::kF32, {1, cols})})).status();
  };
  ASSERT_OK(make(131'072));
  const Status status = make(131'104);
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_EQ(status.message(), "int8 per row: expected at most 131072 columns, got 131104");
}

TEST(EncodeRows, W4_TakesTheLargestGroupThatFits_AndIsWithinAStep) {
  for (const auto& [cols, dtype] : {std::pair<int64_t, DType>{256, DType::kU4G128},
                                    {192, DType::kU4G64},
                                    {96, DType::kU4G32}}) {
    const auto w = RandomWeights(kRows * cols);
    auto rows = MakeW4Rows(MakeViewRows({TensorView(w.data(), DType::kF32, {kRows, cols})}));
    ASSERT_OK(rows.status());
    ASSERT_EQ((*rows)->dtype(), dtype);
    const int64_t group = Traits(dtype).block_weights;
    std::vector<float> row(static_cast<size_t>(cols));
    for (int64_t n = 0; n < kRows; ++n) {
      DecodeRow(**rows, 0, n, row.data());
      for (int64_t k = 0; k < cols; ++k) {
        const float* first = &w[static_cast<size_t>(n * cols + k / group * group)];
        float largest = 0;
        for (int64_t i = 0; i < group; ++i) largest = std::max(largest, std::fabs(first[i]));
        // A step is largest / 8; the far end, +8, is clipped to 7: one step off at most.
        EXPECT_NEAR(row[static_cast<size_t>(k)], first[k % group], largest / 8 * 1.01f);
      }
    }
  }
  std::vector<float> bad(64, 1.0f);
  bad[40] = NAN;
  auto rows = MakeW4Rows(MakeViewRows({TensorView(bad.data(), DType::kF32, {2, 32})}));
  std::vector<float> row(32);
  DecodeRow(**rows, 0, 0, row.data());
  EXPECT_EQ(row[3], 1.0f);
  DecodeRow(**rows, 0, 1, row.data());
  EXPECT_TRUE(std::isnan(row[3]));
  const std::vector<float> w(40, 1.0f);
  EXPECT_EQ(MakeW4Rows(MakeViewRows({TensorView(w.data(), DType::kF32, {1, 40})})).status().code(),
            StatusCode::kUnsupported);
}

// Against the encoder, which does with a scale what f16 does: what stays finite is let through, and
// nothing else that is finite.
TEST(EncodeRows, W4_TooLargeIsWhatWouldNotStayFinite) {
  constexpr int64_t kAt = 32 + 17;
  const auto all_finite = [](const std::vector<float>& row) {
    return std::all_of(row.begin(), row.end(), [](float w) { return std::isfinite(w); });
  };
  const auto check = [&](DType dtype, const void* data, float value) {
    const auto plain = MakeStackedRows({MakeViewRows({TensorView(data, dtype, {2, 32})}),
                                        MakeViewRows({TensorView(data, dtype, {2, 32})})});
    const auto made = MakeW4Rows(plain);
    ASSERT_OK(made.status());
    std::vector<float> row(32);
    DecodeRow(**made, 1, 1, row.data());
    const bool finite = all_finite(row);
    if (std::fabs(value) <= 1e30f) {  // what the encoder takes
      std::vector<float> group(32);
      DecodeRow(*plain, 1, 1, group.data());
      BlockU4G32 block;
      EncodeU4G32(group.data(), 1, reinterpret_cast<uint8_t*>(&block));
      DecodeU4G32(reinterpret_cast<const uint8_t*>(&block), 1, group.data());
      EXPECT_EQ(finite, all_finite(group)) << DTypeName(dtype) << " " << value;
    }
    const auto found = FindTooLargeForW4(*plain);
    EXPECT_EQ(found.has_value(), !finite && std::isfinite(value))
        << DTypeName(dtype) << " " << value;
    if (!found) return;
    EXPECT_EQ(found->expert * 64 + found->row * 32 + found->col, kAt);
    EXPECT_EQ(found->value, value);
  };
  int refused = 0;
  for (const float value : {1.0f, 65504.0f, 522240.0f, 524159.97f, std::nextafter(524160.0f, 0.0f),
                            524160.0f, 524288.0f, 1e18f, 1e30f, 3e38f, INFINITY, NAN}) {
    for (const float signed_value : {value, -value}) {
      std::vector<float> f32(64, 0.5f);
      std::vector<double> f64(64, 0.5);
      std::vector<uint16_t> f16(64, F32ToF16(0.5f)), bf16(64, F32ToBf16(0.5f));
      f32[kAt] = signed_value;
      f64[kAt] = signed_value;
      f16[kAt] = F32ToF16(signed_value);
      bf16[kAt] = F32ToBf16(signed_value);
      check(DType::kF32, f32.data(), signed_value);
      check(DType::kF64, f64.data(), signed_value);
      check(DType::kF16, f16.data(), F16ToF32(f16[kAt]));
      check(DType::kBF16, bf16.data(), Bf16ToF32(bf16[kAt]));
      refused += FindTooLargeForW4(*MakeViewRows({TensorView(f32.data(), DType::kF32, {2, 32})}))
                     .has_value();
    }
  }
  EXPECT_EQ(refused, 2 * 5);
}

TEST(ViewRows, TransposedStackedAndSliced) {
  const auto w = RandomWeights(6 * 10);
  std::vector<float> turned(60);
  for (size_t r = 0; r < 6; ++r) {
    for (size_t k = 0; k < 10; ++k) turned[k * 6 + r] = w[r * 10 + k];
  }
  const auto plain = MakeViewRows({TensorView(w.data(), DType::kF32, {6, 10})});
  const auto transposed = MakeViewRows({TensorView(turned.data(), DType::kF32, {10, 6})}, true);
  const auto stack = MakeRowSlice(MakeStackedRows({plain, transposed}), 2, 3);
  ASSERT_EQ(stack->num_experts(), 2);
  ASSERT_EQ(stack->rows(), 3);
  for (int64_t e = 0; e < 2; ++e) {
    std::vector<float> out(30);
    stack->Read(e, 0, 3, reinterpret_cast<uint8_t*>(out.data()), nullptr);
    EXPECT_TRUE(std::equal(out.begin(), out.end(), w.begin() + 20));
  }
}

}  // namespace
}  // namespace rill::quant
