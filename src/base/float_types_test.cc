#include "base/float_types.h"

#include <gtest/gtest.h>

#include <cmath>

namespace rill {
namespace {

TEST(FloatTypes, F16_EveryValueRoundTrips) {
  for (uint32_t h = 0; h < 0x10000; ++h) {
    const float f = F16ToF32(static_cast<uint16_t>(h));
    if (std::isnan(f)) {
      EXPECT_TRUE(std::isnan(F16ToF32(F32ToF16(f))));
    } else {
      ASSERT_EQ(F32ToF16(f), h) << h;
    }
  }
}

TEST(FloatTypes, F16_RoundsToNearestEvenBetweenAllNeighbours) {
  for (uint32_t h = 0; h < 0x7BFF; ++h) {
    const double low = F16ToF32(static_cast<uint16_t>(h));
    const double high = F16ToF32(static_cast<uint16_t>(h + 1));
    const auto middle = static_cast<float>((low + high) / 2);
    const uint32_t even = (h & 1) ? h + 1 : h;
    ASSERT_EQ(F32ToF16(middle), even) << h;
    ASSERT_EQ(F32ToF16(std::nextafter(middle, 0.0f)), h) << h;
    ASSERT_EQ(F32ToF16(std::nextafter(middle, 1e9f)), h + 1) << h;
  }
  EXPECT_EQ(F32ToF16(65520.0f), 0x7C00);
  EXPECT_EQ(F32ToF16(65519.0f), 0x7BFF);
}

TEST(FloatTypes, Bf16AndFp8_KnownValues) {
  EXPECT_EQ(F32ToBf16(1.0f), 0x3F80);
  EXPECT_EQ(Bf16ToF32(0x4049), 3.140625f);
  EXPECT_EQ(F8E4M3ToF32(0x7E), 448.0f);
  EXPECT_TRUE(std::isnan(F8E4M3ToF32(0xFF)));
  EXPECT_EQ(F8E4M3ToF32(0x01), 0x1p-9f);
  EXPECT_EQ(F8E5M2ToF32(0x7B), 57344.0f);
  EXPECT_TRUE(std::isinf(F8E5M2ToF32(0x7C)));
}

}  // namespace
}  // namespace rill
