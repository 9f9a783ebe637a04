#include "quant/tq2_0.h"

#include "base/float_types.h"
#include "quant/block_io.h"
#include "quant/dequant.h"

namespace rill::quant {

void DecodeTQ2_0(const uint8_t* blocks, int64_t num_blocks, float* out) {
  for (int64_t b = 0; b < num_blocks; ++b, out += BlockTQ2_0::kWeights) {
    const auto block = LoadBlock<BlockTQ2_0>(blocks, b);
    const float scale = F16ToF32(block.scale);
    for (int i = 0; i < BlockTQ2_0::kWeights; ++i) {
      const int code = (block.q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3;
      out[i] = scale * static_cast<float>(code - 1);
    }
  }
}

}  // namespace rill::quant
