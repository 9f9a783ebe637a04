#include "quant/q6_k.h"

#include "base/float_types.h"
#include "quant/block_io.h"
#include "quant/dequant.h"

namespace rill::quant {

void DecodeQ6_K(const uint8_t* blocks, int64_t num_blocks, float* out) {
  for (int64_t b = 0; b < num_blocks; ++b, out += BlockQ6_K::kWeights) {
    const auto block = LoadBlock<BlockQ6_K>(blocks, b);
    const float scale = F16ToF32(block.scale);
    for (int i = 0; i < BlockQ6_K::kWeights; ++i) {
      const int half = i / 128;
      const int r = i % 128;
      const int low = (block.q_low[half * 64 + r % 64] >> (r / 64 * 4)) & 0xF;
      const int high = (block.q_high[half * 32 + r % 32] >> (r / 32 * 2)) & 3;
      const float group_scale = scale * static_cast<float>(block.scales[i / 16]);
      out[i] = group_scale * static_cast<float>((low | high << 4) - 32);
    }
  }
}

}  // namespace rill::quant
