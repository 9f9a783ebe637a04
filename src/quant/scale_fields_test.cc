#include "quant/scale_fields.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <set>
#include <vector>

#include "quant/dequant.h"
#include "quant/grouped.h"
#include "quant/random_weights.h"

namespace rill::quant {
namespace {

bool AllFinite(DType dtype, const std::vector<uint8_t>& block) {
  std::vector<float> x(static_cast<size_t>(Traits(dtype).block_weights));
  EXPECT_TRUE(DequantizeRow(dtype, block.data(), static_cast<int64_t>(x.size()), x.data()).ok());
  for (float v : x) {
    if (!std::isfinite(v)) return false;
  }
  return true;
}

// Against the decoders: over random bytes, a block is seen as bad exactly when it decodes to
// something that is not finite.
TEST(ScaleFields, EveryBlockFormat_AgreesWithItsDecoder) {
  uint64_t state = 7;
  for (int i = 0; i < kNumDTypes; ++i) {
    const auto dtype = static_cast<DType>(i);
    if (!IsQuantBlock(dtype)) continue;
    ASSERT_FALSE(ScaleFieldsOf(dtype).empty()) << DTypeName(dtype);
    int bad = 0;
    for (int trial = 0; trial < 4000; ++trial) {
      std::vector<uint8_t> block(static_cast<size_t>(Traits(dtype).block_bytes));
      for (uint8_t& byte : block) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        byte = static_cast<uint8_t>(state >> 56);
      }
      const NonFinite found = FindNonFinite(dtype, block.data(), Traits(dtype).block_weights);
      EXPECT_EQ(found.looked_at, 1);
      // A finite f32 scale may still overflow in the product.
      if (dtype == DType::kQ8_K && found.bad == 0) continue;
      // NaN by its standard; the decoder, ggml's, has numbers for it.
      if (dtype == DType::kMXFP4 && block[0] == 255) {
        EXPECT_EQ(found.bad, 1);
        continue;
      }
      ASSERT_EQ(found.bad == 0, AllFinite(dtype, block)) << DTypeName(dtype);
      bad += found.bad > 0;
    }
    EXPECT_GT(bad, 0) << DTypeName(dtype);
  }
}

// Every scale with every code, in one place among zeros: whether it overflows is up to both.
TEST(ScaleFields, MXFP4_IsBadWhereItsDecoderOverflowsAndAt255) {
  int overflows = 0;
  for (int exponent = 0; exponent < 256; ++exponent) {
    for (int code = 0; code < 16; ++code) {
      std::vector<uint8_t> block(17, 0);
      block[0] = static_cast<uint8_t>(exponent);
      block[5] = static_cast<uint8_t>(code << 4);
      const bool finite = AllFinite(DType::kMXFP4, block);
      EXPECT_EQ(FindNonFinite(DType::kMXFP4, block.data(), 32).bad == 0, finite && exponent < 255)
          << exponent << " " << code;
      overflows += !finite && exponent < 255;
    }
  }
  EXPECT_EQ(overflows, 4 + 8);  // 4 and 6 times 2^126; 2 to 6 times 2^127; of both signs
}

// A finite scale times a code, or a finite f64, may be beyond the f32 that weights become.
TEST(ScaleFields, Q8K_And_F64_AreBadWhereF32Overflows) {
  std::vector<uint8_t> block(292, 0);
  for (const float scale : {1.0f, 0x1p120f, 0x1p121f, 0x1.02p121f, 0x1p125f, 3e38f, -3e38f}) {
    for (const int code : {0, 1, 2, 126, 127, -128}) {
      std::memcpy(block.data(), &scale, sizeof scale);
      block[4 + 77] = static_cast<uint8_t>(code);
      EXPECT_EQ(FindNonFinite(DType::kQ8_K, block.data(), 256).bad == 0,
                AllFinite(DType::kQ8_K, block))
          << scale << " " << code;
    }
  }
  EXPECT_FALSE(AllFinite(DType::kQ8_K, block));
  const double values[] = {1e300, -1e300, 3.5e38, 3.4028235e38, 3.40282357e38, 1e38, 1e-300};
  for (const double value : values) {
    const double row[4] = {0, 1, value, 2};
    const NonFinite found = FindNonFinite(DType::kF64, row, 4);
    EXPECT_EQ(found.bad == 0, std::isfinite(static_cast<float>(value))) << value;
    EXPECT_EQ(found.first, found.bad > 0 ? 2 : -1);
  }
}

TEST(ScaleFields, FindNonFinite_CountsAndLocates) {
  std::vector<float> x(100, 1.0f);
  x[17] = std::nanf("");
  x[60] = INFINITY;
  NonFinite found = FindNonFinite(DType::kF32, x.data(), 100);
  EXPECT_EQ(found.bad, 2);
  EXPECT_EQ(found.first, 17);
  EXPECT_EQ(found.looked_at, 100);
  found = FindNonFinite(DType::kF32, x.data(), 100, 10);  // 0, 10, …, 60, …
  EXPECT_EQ(found.bad, 1);
  EXPECT_EQ(found.first, 60);
  EXPECT_EQ(FindNonFinite(DType::kI8, x.data(), 400).looked_at, 0);
}

// Against the decoders: every bit pattern of the small floats, and those at the edges of the
// others.
TEST(ScaleFields, PlainFloats_AgreeWithTheirDecoders) {
  struct Case {
    DType dtype;
    std::vector<uint64_t> patterns;
  };
  std::vector<uint64_t> bytes, words;
  for (uint64_t i = 0; i < 65536; ++i) words.push_back(i);
  for (uint64_t i = 0; i < 256; ++i) bytes.push_back(i);
  const Case cases[] = {
      {DType::kF8E4M3, bytes},
      {DType::kF8E5M2, bytes},
      {DType::kF16, words},
      {DType::kBF16, words},
      {DType::kF32, {0, 1, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0xFF800000, 0xFFFFFFFF, 0x80000000}},
      // Of those that f32 can hold.
      {DType::kF64,
       {0, 0x3FF0000000000000, 0x7FF0000000000000, 0x7FF8000000000000, 0xFFF0000000000000,
        0xFFFFFFFFFFFFFFFF, 0x8000000000000000}},
  };
  for (const Case& c : cases) {
    const auto size = static_cast<size_t>(Traits(c.dtype).block_bytes);
    std::vector<uint8_t> data(c.patterns.size() * size);
    int64_t bad = 0;
    for (size_t i = 0; i < c.patterns.size(); ++i) {
      std::memcpy(data.data() + i * size, &c.patterns[i], size);
      float value = 0;
      ASSERT_TRUE(DequantizeRow(c.dtype, data.data() + i * size, 1, &value).ok());
      const NonFinite found = FindNonFinite(c.dtype, data.data() + i * size, 1);
      ASSERT_EQ(found.bad == 0, std::isfinite(value)) << DTypeName(c.dtype) << " " << i;
      bad += !std::isfinite(value);
    }
    EXPECT_GT(bad, 0);
    EXPECT_EQ(FindNonFinite(c.dtype, data.data(), static_cast<int64_t>(c.patterns.size())).bad,
              bad);
  }
}

TEST(RandomWeights, EveryFormat_HasTheSizeAskedForAndIsRepeatable) {
  for (int i = 0; i < kNumDTypes; ++i) {
    const auto dtype = static_cast<DType>(i);
    if (!CanFill(dtype)) continue;
    const int64_t count = 64 * 256;
    std::vector<uint8_t> bytes(static_cast<size_t>(*RowBytes(dtype, count)) + 1, 0xEE), again;
    ASSERT_TRUE(FillRandom(dtype, count, 0.02f, 3, bytes.data()).ok()) << DTypeName(dtype);
    EXPECT_EQ(bytes.back(), 0xEE);
    again.assign(bytes.size(), 0xEE);
    ASSERT_TRUE(FillRandom(dtype, count, 0.02f, 3, again.data()).ok());
    EXPECT_EQ(bytes, again);
    std::vector<float> x(static_cast<size_t>(count));
    ASSERT_TRUE(DequantizeRow(dtype, bytes.data(), count, x.data()).ok());
    double sum = 0, squares = 0;
    for (float v : x) {
      sum += v;
      squares += static_cast<double>(v) * v;
    }
    const double rms = std::sqrt(squares / static_cast<double>(count));
    // MXFP4's scale is a power of two: within a factor of sqrt(2). Others: f16 rounding and chance.
    EXPECT_GT(rms, 0.02 * (dtype == DType::kMXFP4 ? 0.7 : 0.9)) << DTypeName(dtype);
    EXPECT_LT(rms, 0.02 * (dtype == DType::kMXFP4 ? 1.43 : 1.1)) << DTypeName(dtype);
    EXPECT_LT(std::fabs(sum / static_cast<double>(count)), 0.004) << DTypeName(dtype);
  }
  EXPECT_EQ(FillRandom(DType::kI8, 32, 1, 1, nullptr).code(), StatusCode::kUnsupported);
  EXPECT_EQ(FillRandom(DType::kQ4_0, 33, 1, 1, nullptr).code(), StatusCode::kInvalidArgument);
}

// A zero point is one of the codes; any other is no weight that a checkpoint can hold.
TEST(RandomWeights, Groups_HaveZeroPointsOfTheirRange) {
  int formats = 0;
  for (int i = 0; i < kNumDTypes; ++i) {
    const auto dtype = static_cast<DType>(i);
    const GroupedFormat format = GroupedFormatOf(dtype);
    if (format.bits == 0) continue;
    constexpr int64_t kBlocks = 2000;
    const int64_t block_bytes = Traits(dtype).block_bytes;
    std::vector<uint8_t> bytes(static_cast<size_t>(kBlocks * block_bytes));
    ASSERT_TRUE(FillRandom(dtype, kBlocks * format.group, 0.02f, 3, bytes.data()).ok());
    std::set<int> zeros;
    for (int64_t b = 0; b < kBlocks; ++b) {
      BlockU4G32 head;  // scale and zero point are where they are in every group
      std::memcpy(&head, bytes.data() + b * block_bytes, offsetof(BlockU4G32, q));
      zeros.insert(head.zero);
    }
    EXPECT_GE(*zeros.begin(), 0) << DTypeName(dtype);
    EXPECT_LT(*zeros.rbegin(), 1 << format.bits) << DTypeName(dtype);
    EXPECT_GT(zeros.size(), 1u) << DTypeName(dtype);
    ++formats;
  }
  EXPECT_EQ(formats, 12);
}

}  // namespace
}  // namespace rill::quant
