#include "quant/iq4_xs.h"

#include "base/float_types.h"
#include "quant/block_io.h"
#include "quant/dequant.h"
#include "quant/iq4_nl.h"
#include "quant/quantize.h"
#include "quant/scale_search.h"

namespace rill::quant {

void DecodeIQ4_XS(const uint8_t* blocks, int64_t num_blocks, float* out) {
  for (int64_t b = 0; b < num_blocks; ++b, out += BlockIQ4_XS::kWeights) {
    const auto block = LoadBlock<BlockIQ4_XS>(blocks, b);
    const float scale = F16ToF32(block.scale);
    for (int g = 0; g < 8; ++g) {
      const int low = (block.scales_low[g / 2] >> (g % 2 * 4)) & 0xF;
      const int high = (block.scales_high >> (2 * g)) & 3;
      const float group_scale = scale * static_cast<float>((low | high << 4) - 32);
      for (int j = 0; j < 16; ++j) {
        const uint8_t q = block.q[g * 16 + j];
        out[g * 32 + j] = group_scale * static_cast<float>(kIq4Values[q & 0xF]);
        out[g * 32 + j + 16] = group_scale * static_cast<float>(kIq4Values[q >> 4]);
      }
    }
  }
}

void EncodeIQ4_XS(const float* x, int64_t num_blocks, uint8_t* blocks) {
  static constexpr CodeTable kTable(kIq4Values);
  EncodeBlocks<BlockIQ4_XS>(x, num_blocks, blocks, [](const float* w, BlockIQ4_XS& block) {
    uint8_t codes[32];
    float value[8], weight[8];
    for (int g = 0; g < 8; ++g) {
      const ScaleFit fit = FitTableScale(w + g * 32, 32, kTable);
      value[g] = fit.scale;
      weight[g] = fit.weight;
    }
    int s[8];
    block.scale = FitSuperScale(value, weight, 8, -32, 31, s);
    const float scale = F16ToF32(block.scale);
    for (int g = 0; g < 8; ++g) {
      const float* x_group = w + g * 32;
      int best = s[g];
      float least = INFINITY;
      for (int candidate : {s[g], s[g] - 1, s[g] + 1}) {
        if (candidate < -32 || candidate > 31) continue;
        const float error =
            RoundToTable(x_group, 32, scale * static_cast<float>(candidate), kTable, nullptr);
        if (error < least) {
          least = error;
          best = candidate;
        }
      }
      RoundToTable(x_group, 32, scale * static_cast<float>(best), kTable, codes);
      block.scales_low[g / 2] |= static_cast<uint8_t>(((best + 32) & 0xF) << (g % 2 * 4));
      block.scales_high |= static_cast<uint16_t>((best + 32) >> 4 << (2 * g));
      for (int j = 0; j < 16; ++j) {
        block.q[g * 16 + j] = static_cast<uint8_t>(codes[j] | codes[j + 16] << 4);
      }
    }
  });
}

}  // namespace rill::quant
