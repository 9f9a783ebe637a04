// Keys and values as each instruction set encodes them, against quant/kv_<name>.cc, byte for byte.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/kernels.h"
#include "quant/kv_format.h"

namespace rill::cpu {
namespace {

constexpr uint8_t kGuard = 0xA5;
constexpr size_t kGuardBytes = 64;

void ExpectSameBytes(const Kernels& kernels, quant::KvFormat format, const std::vector<float>& x,
                     const std::string& what) {
  const quant::KvFormatTraits& traits = quant::Traits(format);
  const auto dim = static_cast<int64_t>(x.size());
  std::vector<uint8_t> want(static_cast<size_t>(traits.bytes(dim)) + kGuardBytes, kGuard);
  std::vector<uint8_t> got = want;
  traits.encode(x.data(), dim, want.data());
  kernels.kv_encode[static_cast<int>(format)](x.data(), dim, got.data());
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_EQ(got[i], want[i]) << kernels.name << " " << traits.name << ", " << dim << " elements, "
                               << what << ": byte " << i;
  }
}

TEST(CpuKvQuantize, EveryFormatAndSize_HasTheBytesOfItsMeaning) {
  std::mt19937 rng(17);
  std::normal_distribution<float> normal;
  const float specials[] = {std::numeric_limits<float>::quiet_NaN(),
                            -std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity(),
                            127.0f * 65520.0f,  // a scale that is no f16 any more
                            -127.0f * 65504.0f,
                            1e-30f,
                            -0.0f};
  for (const Kernels* kernels : AvailableKernels()) {
    for (int f = 0; f < quant::kNumKvFormats; ++f) {
      const auto format = static_cast<quant::KvFormat>(f);
      for (const size_t dim : {1, 8, 15, 16, 63, 64, 65, 72, 80, 127, 128, 136, 192}) {
        std::vector<float> x(dim);
        for (float& v : x) v = normal(rng) * std::exp2(normal(rng) * 4);
        ExpectSameBytes(*kernels, format, x, "random");
        for (size_t at = 3; at < dim; at += 8) {  // each group of 8
          const float kept = x[at];
          for (const float special : specials) {
            x[at] = special;
            ExpectSameBytes(*kernels, format, x,
                            std::to_string(special) + " at " + std::to_string(at));
          }
          x[at] = kept;
        }
        for (const float all : {0.0f, 1e-7f, -3.0f}) {
          ExpectSameBytes(*kernels, format, std::vector<float>(dim, all), "all alike");
        }
      }
    }
  }
}

}  // namespace
}  // namespace rill::cpu
