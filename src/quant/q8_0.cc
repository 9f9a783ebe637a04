#include "quant/q8_0.h"

#include <cmath>

#include "base/float_types.h"
#include "quant/block_io.h"
#include "quant/dequant.h"
#include "quant/quantize.h"

namespace rill::quant {

void DecodeQ8_0(const uint8_t* blocks, int64_t num_blocks, float* out) {
  for (int64_t b = 0; b < num_blocks; ++b, out += BlockQ8_0::kWeights) {
    const auto block = LoadBlock<BlockQ8_0>(blocks, b);
    const float scale = F16ToF32(block.scale);
    for (int i = 0; i < BlockQ8_0::kWeights; ++i) {
      out[i] = scale * static_cast<float>(block.q[i]);
    }
  }
}

// Rounds half away from zero.
void EncodeQ8_0(const float* x, int64_t num_blocks, uint8_t* blocks) {
  for (int64_t b = 0; b < num_blocks; ++b, x += BlockQ8_0::kWeights) {
    const float scale = std::fabs(LargestMagnitude(x, BlockQ8_0::kWeights)) / 127.0f;
    const float inverse = InverseScale(scale);
    BlockQ8_0 block;
    block.scale = F32ToF16(scale);
    for (int i = 0; i < BlockQ8_0::kWeights; ++i) {
      block.q[i] = static_cast<int8_t>(std::round(x[i] * inverse));
    }
    StoreBlock(block, blocks, b);
  }
}

}  // namespace rill::quant
