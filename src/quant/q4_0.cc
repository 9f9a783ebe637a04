#include "quant/q4_0.h"

#include <algorithm>
#include <cmath>

#include "base/float_types.h"
#include "quant/block_io.h"
#include "quant/dequant.h"
#include "quant/quantize.h"

namespace rill::quant {

void DecodeQ4_0(const uint8_t* blocks, int64_t num_blocks, float* out) {
  for (int64_t b = 0; b < num_blocks; ++b, out += BlockQ4_0::kWeights) {
    const auto block = LoadBlock<BlockQ4_0>(blocks, b);
    const float scale = F16ToF32(block.scale);
    for (int j = 0; j < 16; ++j) {
      out[j] = scale * static_cast<float>((block.q[j] & 0xF) - 8);
      out[j + 16] = scale * static_cast<float>((block.q[j] >> 4) - 8);
    }
  }
}

// scale = (the value of largest magnitude) / -8, so that this value gets the one code, 0, that has
// no positive counterpart.
void EncodeQ4_0(const float* x, int64_t num_blocks, uint8_t* blocks) {
  for (int64_t b = 0; b < num_blocks; ++b, x += BlockQ4_0::kWeights) {
    const float extreme = LargestMagnitude(x, BlockQ4_0::kWeights);
    const float scale = extreme / -8.0f;
    const float inverse = InverseScale(scale);
    BlockQ4_0 block;
    block.scale = F32ToF16(scale);
    for (int j = 0; j < 16; ++j) {
      const int low = std::min(15, static_cast<int>(x[j] * inverse + 8.5f));
      const int high = std::min(15, static_cast<int>(x[j + 16] * inverse + 8.5f));
      block.q[j] = static_cast<uint8_t>(low | high << 4);
    }
    StoreBlock(block, blocks, b);
  }
}

}  // namespace rill::quant
