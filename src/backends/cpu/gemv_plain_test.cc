// f16 and bf16 panels times one token: the bits of the same panels widened to f32 first.
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/kernels.h"
#include "base/float_types.h"

namespace rill::cpu {
namespace {

struct Format {
  const char* name;
  GemvFn Kernels::* gemv;
  DecodeFn Kernels::* decode;
  uint16_t (*encode)(float);
};
const Format kFormats[] = {
    {"f16", &Kernels::gemv_f16, &Kernels::decode_f16, F32ToF16},
    {"bf16", &Kernels::gemv_bf16, &Kernels::decode_bf16, F32ToBf16},
};

TEST(GemvPlain, HasTheBitsOfWidenedPanels) {
  int compared = 0;
  for (const Kernels* kernels : AvailableKernels()) {
    for (const Format& format : kFormats) {
      const GemvFn gemv = kernels->*format.gemv;
      if (gemv == nullptr) continue;
      for (const int64_t k : {1, 7, 8, 9, 48, 61, 576}) {
        for (const int64_t num_panels : {1, 2, 3, 4, 5, 7, 8, 9}) {
          SCOPED_TRACE(std::string(kernels->name) + " " + format.name + ", k " + std::to_string(k) +
                       ", " + std::to_string(num_panels) + " panels");
          std::mt19937 rng(static_cast<uint32_t>(k * 100 + num_panels));
          std::normal_distribution<float> normal;
          const auto weights = static_cast<size_t>(num_panels * k * kPanelRows);
          std::vector<uint16_t> panels(weights);
          for (uint16_t& w : panels) w = format.encode(normal(rng));
          std::vector<float> x(static_cast<size_t>(k));
          for (float& v : x) v = normal(rng);
          const auto* bytes = reinterpret_cast<const uint8_t*>(panels.data());
          const int64_t panel_bytes = k * kPanelRows * 2;

          std::vector<float> wide(weights), want(static_cast<size_t>(num_panels * kPanelRows));
          for (int64_t p = 0; p < num_panels; ++p) {
            (kernels->*format.decode)(bytes + p * panel_bytes, k, 1,
                                      wide.data() + p * k * kPanelRows);
          }
          kernels->gemm_f32(wide.data(), k * kPanelRows, num_panels, k, x.data(), 1, want.data());
          std::vector<float> got(want.size() + 16, 7.0f);
          gemv(bytes, panel_bytes, num_panels, k, 1, x.data(), got.data());
          EXPECT_EQ(std::memcmp(got.data(), want.data(), want.size() * sizeof(float)), 0);
          for (size_t i = want.size(); i < got.size(); ++i) EXPECT_EQ(got[i], 7.0f);
          ++compared;
        }
      }
    }
  }
  // Only scalar code has no such kernel.
  EXPECT_EQ(compared == 0, AvailableKernels().front()->isa == std::string("scalar"));
}

}  // namespace
}  // namespace rill::cpu
