#include "quant/q2_k.h"

#include "base/float_types.h"
#include "quant/block_io.h"
#include "quant/dequant.h"

namespace rill::quant {

void DecodeQ2_K(const uint8_t* blocks, int64_t num_blocks, float* out) {
  for (int64_t b = 0; b < num_blocks; ++b, out += BlockQ2_K::kWeights) {
    const auto block = LoadBlock<BlockQ2_K>(blocks, b);
    const float scale = F16ToF32(block.scale);
    const float min_scale = F16ToF32(block.min_scale);
    for (int i = 0; i < BlockQ2_K::kWeights; ++i) {
      const uint8_t packed = block.scales[i / 16];
      const float group_scale = scale * static_cast<float>(packed & 0xF);
      const float group_min = min_scale * static_cast<float>(packed >> 4);
      const int q = (block.q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3;
      out[i] = group_scale * static_cast<float>(q) - group_min;
    }
  }
}

}  // namespace rill::quant
