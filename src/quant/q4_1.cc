#include "quant/q4_1.h"

#include <algorithm>

#include "base/float_types.h"
#include "quant/block_io.h"
#include "quant/dequant.h"
#include "quant/quantize.h"

namespace rill::quant {

void DecodeQ4_1(const uint8_t* blocks, int64_t num_blocks, float* out) {
  for (int64_t b = 0; b < num_blocks; ++b, out += BlockQ4_1::kWeights) {
    const auto block = LoadBlock<BlockQ4_1>(blocks, b);
    const float scale = F16ToF32(block.scale);
    const float min = F16ToF32(block.min);
    for (int j = 0; j < 16; ++j) {
      out[j] = scale * static_cast<float>(block.q[j] & 0xF) + min;
      out[j + 16] = scale * static_cast<float>(block.q[j] >> 4) + min;
    }
  }
}

void EncodeQ4_1(const float* x, int64_t num_blocks, uint8_t* blocks) {
  for (int64_t b = 0; b < num_blocks; ++b, x += BlockQ4_1::kWeights) {
    const auto [min, max] = std::minmax_element(x, x + BlockQ4_1::kWeights);
    const float scale = (*max - *min) / 15.0f;
    const float inverse = InverseScale(scale);
    BlockQ4_1 block;
    block.scale = F32ToF16(scale);
    block.min = F32ToF16(*min);
    for (int j = 0; j < 16; ++j) {
      const int low = std::min(15, static_cast<int>((x[j] - *min) * inverse + 0.5f));
      const int high = std::min(15, static_cast<int>((x[j + 16] - *min) * inverse + 0.5f));
      block.q[j] = static_cast<uint8_t>(low | high << 4);
    }
    StoreBlock(block, blocks, b);
  }
}

}  // namespace rill::quant
