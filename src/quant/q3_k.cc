#include "quant/q3_k.h"

#include "base/float_types.h"
#include "quant/block_io.h"
#include "quant/dequant.h"

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

}  // namespace rill::quant
