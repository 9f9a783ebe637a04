// Decoders and encoders against hashes of what the Python package `gguf` (NumPy, where it does not
// know the format) makes of the same input.
// tests/oracle/test_quant.py compares millions of elements with the package itself.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <sstream>
#include <vector>

#include "base/testing.h"
#include "quant/dequant.h"
#include "quant/quantize.h"

namespace rill::quant {
namespace {

// Hashes of tests/golden/quant.txt by "decode q4_0".
std::map<std::string, uint64_t> ReadGolden() {
  std::map<std::string, uint64_t> golden;
  std::ifstream in(testing::SourceDir() + "/tests/golden/quant.txt");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with('#')) continue;
    std::istringstream words(line);
    std::string what, name, hash;
    words >> what >> name >> hash;
    golden[what + " " + name] = std::stoull(hash, nullptr, 16);
  }
  return golden;
}

uint64_t Fnv1a(const void* data, size_t size) {
  uint64_t hash = 0xCBF29CE484222325u;
  const auto* bytes = static_cast<const uint8_t*>(data);
  for (size_t i = 0; i < size; ++i) hash = (hash ^ bytes[i]) * 0x100000001B3u;
  return hash;
}

std::vector<uint64_t> SplitMix64(uint64_t seed, size_t count) {
  std::vector<uint64_t> out(count);
  for (uint64_t& value : out) {
    uint64_t z = seed += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    value = z ^ (z >> 31);
  }
  return out;
}

TEST(Quant, DecodeEveryDType_MatchesGoldenHash) {
  const auto golden = ReadGolden();
  for (const DTypeTraits& traits : kDTypeTraits) {
    const std::string name(traits.name);
    const DType dtype = *DTypeFromName(name);
    ASSERT_TRUE(CanDequantize(dtype)) << name;
    const size_t size = 64u * static_cast<size_t>(traits.block_bytes);
    const auto raw = SplitMix64(Fnv1a(name.data(), name.size()), (size + 7) / 8);
    std::vector<float> out(64u * static_cast<size_t>(traits.block_weights));
    ASSERT_TRUE(
        DequantizeRow(dtype, raw.data(), static_cast<int64_t>(out.size()), out.data()).ok());
    for (float& value : out) {
      if (std::isnan(value)) value = std::bit_cast<float>(0x7FC00000u);
    }
    const auto expected = golden.find("decode " + name);
    ASSERT_NE(expected, golden.end()) << "no golden hash of " << name;
    EXPECT_EQ(Fnv1a(out.data(), out.size() * sizeof(float)), expected->second) << name;
  }
}

TEST(Quant, Encode_MatchesGoldenHash) {
  const auto golden = ReadGolden();
  int num_encoders = 0;
  for (const DTypeTraits& traits : kDTypeTraits) {
    const std::string name(traits.name);
    const DType dtype = *DTypeFromName(name);
    if (EncodingOf(dtype) != Encoding::kRounded) continue;
    ++num_encoders;
    std::vector<float> x;
    for (uint64_t raw : SplitMix64(Fnv1a(name.data(), name.size()), 2048)) {
      x.push_back(static_cast<float>(static_cast<int64_t>(raw >> 40) - (1 << 23)) * 0x1p-20f);
    }
    std::vector<uint8_t> out(static_cast<size_t>(*RowBytes(dtype, 2048)));
    ASSERT_TRUE(QuantizeRow(dtype, x.data(), 2048, out.data()).ok());
    const auto expected = golden.find("encode " + name);
    ASSERT_NE(expected, golden.end()) << "no golden hash of " << name;
    EXPECT_EQ(Fnv1a(out.data(), out.size()), expected->second) << name;
  }
  EXPECT_EQ(num_encoders, 8);
}

// Bell-shaped as weights are, around 0 and around a value of each block's own.
std::vector<float> Weights(size_t count, bool offset, float deviation) {
  std::vector<float> x;
  const auto raw = SplitMix64(99, count);
  for (size_t i = 0; i < count; ++i) {
    float sum = 0;
    for (int part = 0; part < 4; ++part) {
      sum += static_cast<float>((raw[i] >> (16 * part)) & 0xFFFF) * 0x1p-16f - 0.5f;
    }
    const float middle = offset ? static_cast<float>(raw[i / 256] >> 56) * 0x1p-7f - 1.0f : 0.0f;
    x.push_back((sum * 1.7320508f + middle) * deviation);
  }
  return x;
}

std::vector<float> RoundTrip(DType dtype, const std::vector<float>& x) {
  std::vector<uint8_t> blocks(
      static_cast<size_t>(*RowBytes(dtype, static_cast<int64_t>(x.size()))));
  std::vector<float> out(x.size());
  EXPECT_TRUE(QuantizeRow(dtype, x.data(), static_cast<int64_t>(x.size()), blocks.data()).ok());
  EXPECT_TRUE(DequantizeRow(dtype, blocks.data(), static_cast<int64_t>(x.size()), out.data()).ok());
  return out;
}

double SquaredError(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    sum += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
  }
  return sum;
}

struct Searched {
  DType dtype;
  int group;      // weights that share a scale
  double levels;  // codes over the range of a group, at their widest step
  bool min;       // the range is [min(x, 0), max], else twice the largest magnitude
  int largest;    // magnitude of a code
};
// The widest step of iq4 is 24 of 240, of mxfp4 2 of 12 (in halves of a range of 6).
constexpr Searched kSearched[] = {{DType::kQ2_K, 16, 3, true, 3},
                                  {DType::kQ3_K, 16, 7, false, 4},
                                  {DType::kQ4_K, 32, 15, true, 15},
                                  {DType::kQ5_K, 32, 31, true, 31},
                                  {DType::kQ6_K, 16, 63, false, 32},
                                  {DType::kIQ4_NL, 32, 240.0 / 24, false, 127},
                                  {DType::kIQ4_XS, 32, 240.0 / 24, false, 127},
                                  {DType::kMXFP4, 32, 12.0 / 4, false, 12}};

// Plain rounding over the group's range has at most half a step of error, so its squared error is
// at most count * (step / 2)^2; a search for the least squared error must not be worse. Integer
// scales of a super-block add up to one part in 2 s of the step; what that costs is far below what
// the bound leaves, since rounding errors are spread over the step (a third of the bound).
TEST(Quant, SearchedEncoders_ErrorIsBelowHalfAStep) {
  int num_encoders = 0;
  for (const DTypeTraits& traits : kDTypeTraits) {
    num_encoders += EncodingOf(*DTypeFromName(traits.name)) == Encoding::kSearched;
  }
  EXPECT_EQ(num_encoders, std::size(kSearched));
  for (const Searched& format : kSearched) {
    for (const bool offset : {false, true}) {
      for (const float deviation : {1e-3f, 0.02f, 50.0f}) {
        const auto x = Weights(32 * 256, offset, deviation);
        const auto y = RoundTrip(format.dtype, x);
        double bound = 0;
        for (size_t begin = 0; begin < x.size(); begin += static_cast<size_t>(format.group)) {
          float low = 0, high = 0;
          for (size_t i = begin; i < begin + static_cast<size_t>(format.group); ++i) {
            low = std::min(low, x[i]);
            high = std::max(high, x[i]);
          }
          const double range = format.min ? high - low : 2 * std::max(high, -low);
          const double half_step = range / format.levels / 2;
          bound += format.group * half_step * half_step;
        }
        EXPECT_LT(SquaredError(x, y), bound) << DTypeName(format.dtype) << " " << deviation;
      }
    }
  }
}

// What lies on a format's grid is found there again: all of it where a scale is all there is to
// find. With minima, or few codes, another scale of the same weights may come first; that error is
// small against the first.
TEST(Quant, SearchedEncoders_FindTheirOwnGrid) {
  for (const Searched& format : kSearched) {
    const auto x = Weights(32 * 256, false, 0.02f);
    const auto y = RoundTrip(format.dtype, x);
    const auto z = RoundTrip(format.dtype, y);
    const bool exact = !format.min && format.dtype != DType::kQ3_K;
    if (exact) {
      EXPECT_EQ(y, z) << DTypeName(format.dtype);
    } else {
      EXPECT_LE(SquaredError(y, z), SquaredError(x, y) / 64) << DTypeName(format.dtype);
    }
  }
}

TEST(Quant, SearchedEncoders_ExtremesStayFinite) {
  for (const Searched& format : kSearched) {
    // Half of what scales are multiples of, times the code.
    const double least = format.dtype == DType::kMXFP4 ? 0x1p-129 : 0x1p-25 * format.largest;
    for (const float value : {0.0f, 1e-42f, -3e-8f, 1e-6f, 1.0f, -1.0f, 65504.0f, 1e30f, -1e30f}) {
      for (const bool alone : {false, true}) {
        std::vector<float> x(256, alone ? 0.0f : value);
        x[77] = value;
        const auto y = RoundTrip(format.dtype, x);
        // One value of a group, and zeros beside it, are met up to the rounding of scales.
        for (size_t i = 0; i < x.size(); ++i) {
          ASSERT_TRUE(std::isfinite(y[i])) << DTypeName(format.dtype) << " " << value;
          if (std::fabs(value) > 65504.0f) continue;
          const bool power = format.dtype == DType::kMXFP4;  // next to 1.25 is 1 or 1.5
          const double error = std::fabs(static_cast<double>(x[i]) - y[i]);
          EXPECT_LE(error, std::fabs(value) * (power ? 0.2 : 1.0 / 100) + least)
              << DTypeName(format.dtype) << " " << value << " at " << i;
        }
      }
    }
  }
}

TEST(Quant, AnyAlignment_DecodesTheSame) {
  for (const DTypeTraits& traits : kDTypeTraits) {
    const DType dtype = *DTypeFromName(traits.name);
    const auto size = static_cast<size_t>(traits.block_bytes);
    const auto n = static_cast<size_t>(traits.block_weights);
    std::vector<uint8_t> bytes(size + 1);
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(37 * i + 1);
    std::vector<float> aligned(n), odd(n);
    ASSERT_TRUE(DequantizeRow(dtype, bytes.data(), static_cast<int64_t>(n), aligned.data()).ok());
    std::memmove(bytes.data() + 1, bytes.data(), size);
    ASSERT_TRUE(DequantizeRow(dtype, bytes.data() + 1, static_cast<int64_t>(n), odd.data()).ok());
    EXPECT_EQ(std::memcmp(aligned.data(), odd.data(), n * sizeof(float)), 0) << traits.name;
  }
}

TEST(Quant, PartialBlocks_AreRefused) {
  uint8_t block[512] = {};
  float out[512];
  EXPECT_EQ(DequantizeRow(DType::kQ4_0, block, 33, out).message(),
            "dequantize: 33 elements of q4_0, expected a multiple of 32");
  EXPECT_FALSE(DequantizeRow(DType::kQ6_K, block, 32, out).ok());
  EXPECT_FALSE(DequantizeRow(DType::kF32, block, -1, out).ok());
  EXPECT_TRUE(DequantizeRow(DType::kQ4_0, block, 0, out).ok());
}

TEST(Quant, QuantizeRow_RefusesWhatItCannotWrite) {
  std::vector<float> x(32, 1.0f);
  uint8_t out[64];
  EXPECT_EQ(QuantizeRow(DType::kQ8_K, x.data(), 32, out).code(), StatusCode::kUnsupported);
  EXPECT_FALSE(QuantizeRow(DType::kQ6_K, x.data(), 32, out).ok());
  EXPECT_FALSE(QuantizeRow(DType::kQ4_0, x.data(), 31, out).ok());
  for (float bad : {std::numeric_limits<float>::infinity(), std::nanf(""), 2e30f}) {
    x[3] = bad;
    EXPECT_FALSE(QuantizeRow(DType::kQ4_1, x.data(), 32, out).ok()) << bad;
  }
}

}  // namespace
}  // namespace rill::quant
