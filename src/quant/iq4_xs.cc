#include "quant/iq4_xs.h"

#include "base/float_types.h"
#include "quant/block_io.h"
#include "quant/dequant.h"
#include "quant/iq4_nl.h"

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

}  // namespace rill::quant
