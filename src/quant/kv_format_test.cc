#include "quant/kv_format.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/float_types.h"
#include "quant/paged_kv_view.h"

namespace rill::quant {
namespace {

std::vector<float> RoundTrip(const KvFormatTraits& traits, const std::vector<float>& x) {
  const auto dim = static_cast<int64_t>(x.size());
  std::vector<uint8_t> stored(static_cast<size_t>(traits.bytes(dim)) + 1, 0xAA);
  traits.encode(x.data(), dim, stored.data());
  EXPECT_EQ(stored.back(), 0xAA) << traits.name;  // bytes() is all that is written
  std::vector<float> out(x.size());
  traits.decode(stored.data(), dim, out.data());
  return out;
}

TEST(KvFormat, RoundTrip_StaysInsideTheStatedError) {
  std::vector<float> x;
  for (int i = -400; i < 405; ++i) {
    // 12 bits behind the point: more than f16 and bf16 keep, so that rounding shows.
    const float mantissa = 1.0f + static_cast<float>((i * 7919) & 4095) / 4096.0f;
    x.push_back(std::ldexp(mantissa, i % 14) * (i < 0 ? -1 : 1));
  }
  for (const KvFormatTraits& traits : kKvFormats) {
    const std::vector<float> out = RoundTrip(traits, x);
    double worst = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t begin = i / traits.group * traits.group;
      float largest = 0;
      for (size_t j = begin; j < std::min(begin + traits.group, x.size()); ++j) {
        largest = std::max(largest, std::fabs(x[j]));
      }
      const double error = std::fabs(out[i] - x[i]);
      EXPECT_LE(error, traits.error * largest) << traits.name << " element " << i;
      worst = std::max(worst, error / largest);
    }
    // The stated error is not idle either.
    EXPECT_GE(worst, traits.error * 0.4) << traits.name;
  }
}

// By hand: max 127 gives scale 1; halves go to even.
TEST(KvFormat, Int8_CodesAndScale) {
  const float x[9] = {127, -127, 0.5f, 1.5f, -2.5f, 0, 126.4f, -3, 1e-7f};
  uint8_t stored[13];
  ASSERT_EQ(Traits(KvFormat::kInt8).bytes(9), 13);
  KvEncodeInt8(x, 9, stored);
  const int8_t codes[9] = {127, -127, 0, 2, -2, 0, 126, -3, 0};
  for (int i = 0; i < 9; ++i) EXPECT_EQ(static_cast<int8_t>(stored[i]), codes[i]) << i;
  EXPECT_EQ(stored[9] | stored[10] << 8, 0x3C00);            // 1
  EXPECT_EQ(stored[11] | stored[12] << 8, F32ToF16(1e-5f));  // the floor
}

// Codes 0 to 15 on -1, 0, …, 14: scale 1, minimum -1. Byte j has elements j and j + 16.
TEST(KvFormat, Int4_CodesScaleAndMinimum) {
  std::vector<float> x(33);
  for (size_t i = 0; i < 32; ++i) x[i] = static_cast<float>(i % 16) - 1;
  x[32] = 5;
  uint8_t stored[40];
  ASSERT_EQ(Traits(KvFormat::kInt4).bytes(33), 40);
  KvEncodeInt4(x.data(), 33, stored);
  for (int j = 0; j < 16; ++j) EXPECT_EQ(stored[j], j | j << 4) << j;
  for (int j = 16; j < 32; ++j) EXPECT_EQ(stored[j], 0) << j;
  EXPECT_EQ(stored[32] | stored[33] << 8, 0x3C00);
  EXPECT_EQ(stored[34] | stored[35] << 8, 0xBC00);
  EXPECT_EQ(RoundTrip(Traits(KvFormat::kInt4), x), x);
}

TEST(KvFormat, NanAndInf_SpoilTheirGroupOnly) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const KvFormatTraits& traits : kKvFormats) {
    for (const float bad : {std::nanf(""), inf, -inf}) {
      std::vector<float> x(96, 1.0f);
      x[40] = bad;
      const std::vector<float> out = RoundTrip(traits, x);
      if (traits.group == 1) {
        EXPECT_TRUE(std::isnan(bad) ? std::isnan(out[40]) : out[40] == bad) << traits.name;
      }
      const size_t group = static_cast<size_t>(traits.group);
      for (size_t i = 0; i < x.size(); ++i) {
        EXPECT_EQ(std::isfinite(out[i]), i / group != 40 / group) << traits.name << " " << i;
      }
    }
    EXPECT_EQ(RoundTrip(traits, {-0.0f, 0.0f})[0], 0.0f) << traits.name;
    // Beyond what an f16 scale or minimum can say.
    if (traits.group > 1) {
      EXPECT_TRUE(std::isnan(RoundTrip(traits, {3e38f, -3e38f})[0])) << traits.name;
    }
  }
}

// What is stored comes back, in every slot, and touches nothing of its neighbours.
TEST(KvFormat, Slab_KeepsEveryVector) {
  for (int f = 0; f < kNumKvFormats; ++f) {
    KvLayout layout;
    layout.format = static_cast<KvFormat>(f);
    layout.num_layers = layout.num_kv_heads = 1;
    layout.k_dim = 41;
    layout.v_dim = 50;
    layout.page_size = 48;
    const KvFormatTraits& traits = layout.traits();
    std::vector<std::byte> slab(static_cast<size_t>(layout.slab_bytes()));
    std::vector<std::vector<uint8_t>> keys, values;
    uint32_t state = 1;
    const auto random = [&](int64_t dim) {
      std::vector<float> x(static_cast<size_t>(dim));
      for (float& v : x) {
        state = state * 1664525 + 1013904223;
        v = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f;
      }
      std::vector<uint8_t> stored(static_cast<size_t>(traits.bytes(dim)));
      traits.encode(x.data(), dim, stored.data());
      return stored;
    };
    for (int64_t slot = 0; slot < layout.page_size; ++slot) {
      keys.push_back(random(layout.k_dim));
      values.push_back(random(layout.v_dim));
      StoreKey(layout, slab.data(), slot, keys.back().data());
      StoreValue(layout, slab.data(), slot, values.back().data());
    }
    for (size_t slot = 0; slot < keys.size(); ++slot) {
      std::vector<uint8_t> got(keys[slot].size());
      LoadKey(layout, slab.data(), static_cast<int64_t>(slot), got.data());
      EXPECT_EQ(got, keys[slot]) << traits.name << " key " << slot;
      got.resize(values[slot].size());
      LoadValue(layout, slab.data(), static_cast<int64_t>(slot), got.data());
      EXPECT_EQ(got, values[slot]) << traits.name << " value " << slot;
    }
  }
}

TEST(KvFormat, NamesAndSizes) {
  EXPECT_EQ(KvFormatFromName("bf16"), KvFormat::kBF16);
  EXPECT_EQ(KvFormatFromName("int8"), KvFormat::kInt8);
  EXPECT_EQ(KvFormatFromName("int3"), std::nullopt);
  EXPECT_EQ(KvFormatNames(), "f32, f16, bf16, int8 or int4");
  // SmolLM2: 30 layers, 3 KV heads of 64: bytes of a position.
  KvLayout layout{KvFormat::kF16, 30, 3, 64, 64, 64};
  EXPECT_EQ(layout.page_bytes() / 64, 23'040);
  layout.format = KvFormat::kInt8;
  EXPECT_EQ(layout.page_bytes() / 64, 14'400);  // 10 bits an element
  layout.format = KvFormat::kInt4;
  EXPECT_EQ(layout.page_bytes() / 64, 7'200);  // 5 bits
}

}  // namespace
}  // namespace rill::quant
