#include "quant/kv_format.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace rill::quant {
namespace {

TEST(KvFormat, RoundTrip_StaysInsideTheStatedError) {
  std::vector<float> x;
  for (int i = -400; i < 400; ++i)
    x.push_back(std::ldexp(1.0f + 0.37f * (i & 1), i % 14) * (i < 0 ? -1 : 1));
  for (const KvFormatTraits& traits : kKvFormats) {
    const auto dim = static_cast<int64_t>(x.size());
    std::vector<uint8_t> stored(static_cast<size_t>(traits.bytes(dim)) + 1, 0xAA);
    traits.encode(x.data(), dim, stored.data());
    EXPECT_EQ(stored.back(), 0xAA) << traits.name;  // bytes() is all that is written
    std::vector<float> out(x.size());
    traits.decode(stored.data(), dim, out.data());
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_LE(std::fabs(out[i] - x[i]), traits.relative_error * std::fabs(x[i])) << traits.name;
    }
  }
}

TEST(KvFormat, NanAndInf_Survive) {
  const float x[3] = {std::nanf(""), std::numeric_limits<float>::infinity(), -0.0f};
  for (const KvFormatTraits& traits : kKvFormats) {
    uint8_t stored[64];
    float out[3];
    traits.encode(x, 3, stored);
    traits.decode(stored, 3, out);
    EXPECT_TRUE(std::isnan(out[0])) << traits.name;
    EXPECT_EQ(out[1], x[1]) << traits.name;
    EXPECT_TRUE(std::signbit(out[2])) << traits.name;
  }
}

TEST(KvFormat, NamesAndSizes) {
  EXPECT_EQ(KvFormatFromName("bf16"), KvFormat::kBF16);
  EXPECT_EQ(KvFormatFromName("int3"), std::nullopt);
  // SmolLM2: 30 layers, 3 KV heads of 64.
  EXPECT_EQ(KvBytesPerToken(KvFormat::kF16, 30, 3, 64, 64), 23'040);
}

}  // namespace
}  // namespace rill::quant
