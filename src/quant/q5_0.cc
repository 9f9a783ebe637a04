#include "quant/q5_0.h"

#include <algorithm>

#include "base/float_types.h"
#include "quant/block_io.h"
#include "quant/dequant.h"
#include "quant/quantize.h"

namespace rill::quant {

void DecodeQ5_0(const uint8_t* blocks, int64_t num_blocks, float* out) {
  for (int64_t b = 0; b < num_blocks; ++b, out += BlockQ5_0::kWeights) {
    const auto block = LoadBlock<BlockQ5_0>(blocks, b);
    const float scale = F16ToF32(block.scale);
    for (int i = 0; i < BlockQ5_0::kWeights; ++i) {
      const int low = i < 16 ? block.q_low[i] & 0xF : block.q_low[i - 16] >> 4;
      const int high = (block.q_high[i / 8] >> (i % 8)) & 1;
      out[i] = scale * static_cast<float>((low | high << 4) - 16);
    }
  }
}

void EncodeQ5_0(const float* x, int64_t num_blocks, uint8_t* blocks) {
  for (int64_t b = 0; b < num_blocks; ++b, x += BlockQ5_0::kWeights) {
    const float scale = LargestMagnitude(x, BlockQ5_0::kWeights) / -16.0f;
    const float inverse = InverseScale(scale);
    BlockQ5_0 block = {};
    block.scale = F32ToF16(scale);
    for (int i = 0; i < BlockQ5_0::kWeights; ++i) {
      const int q = std::min(31, static_cast<int>(x[i] * inverse + 16.5f));
      block.q_low[i % 16] |= static_cast<uint8_t>((q & 0xF) << (i < 16 ? 0 : 4));
      block.q_high[i / 8] |= static_cast<uint8_t>((q >> 4) << (i % 8));
    }
    StoreBlock(block, blocks, b);
  }
}

}  // namespace rill::quant
