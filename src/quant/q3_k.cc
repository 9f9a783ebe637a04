#include "quant/q3_k.h"

#include "base/float_types.h"
#include "quant/block_io.h"
#include "quant/dequant.h"
#include "quant/quantize.h"
#include "quant/scale_search.h"

namespace rill::quant {

void DecodeQ3_K(const uint8_t* blocks, int64_t num_blocks, float* out) {
  for (int64_t b = 0; b < num_blocks; ++b, out += BlockQ3_K::kWeights) {
    const auto block = LoadBlock<BlockQ3_K>(blocks, b);
    const float scale = F16ToF32(block.scale);
    for (int g = 0; g < 16; ++g) {
      const int low = (block.scales[g % 8] >> (g / 8 * 4)) & 0xF;
      const int high = (block.scales[8 + g % 4] >> (g / 4 * 2)) & 3;
      const float group_scale = scale * static_cast<float>((low | high << 4) - 32);
      for (int i = g * 16; i < g * 16 + 16; ++i) {
        const int q = (block.q_low[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3;
        const bool is_high = (block.high[i % 32] >> (i / 32)) & 1;
        out[i] = group_scale * static_cast<float>(is_high ? q : q - 4);
      }
    }
  }
}

void EncodeQ3_K(const float* x, int64_t num_blocks, uint8_t* blocks) {
  EncodeBlocks<BlockQ3_K>(x, num_blocks, blocks, [](const float* w, BlockQ3_K& block) {
    int8_t codes[BlockQ3_K::kWeights];
    const SuperBlock super = EncodeSuper(w, 16, 16, -32, 31, -4, 3, codes);
    block.scale = super.scale;
    for (int g = 0; g < 16; ++g) {
      const int s = super.s[g] + 32;
      block.scales[g % 8] |= static_cast<uint8_t>((s & 0xF) << (g / 8 * 4));
      block.scales[8 + g % 4] |= static_cast<uint8_t>((s >> 4) << (g / 4 * 2));
    }
    for (int i = 0; i < BlockQ3_K::kWeights; ++i) {
      const int q = codes[i] + 4;
      block.q_low[i / 128 * 32 + i % 32] |= static_cast<uint8_t>((q & 3) << (i % 128 / 32 * 2));
      block.high[i % 32] |= static_cast<uint8_t>((q >> 2) << (i / 32));
    }
  });
}

}  // namespace rill::quant
