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
    if (!CanQuantize(dtype)) continue;
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
  EXPECT_EQ(QuantizeRow(DType::kQ6_K, x.data(), 32, out).code(), StatusCode::kUnsupported);
  EXPECT_FALSE(QuantizeRow(DType::kQ4_0, x.data(), 31, out).ok());
  for (float bad : {std::numeric_limits<float>::infinity(), std::nanf(""), 2e30f}) {
    x[3] = bad;
    EXPECT_FALSE(QuantizeRow(DType::kQ4_1, x.data(), 32, out).ok()) << bad;
  }
}

}  // namespace
}  // namespace rill::quant
