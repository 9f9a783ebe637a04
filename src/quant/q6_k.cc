#include "quant/q6_k.h"

#include "base/float_types.h"
#include "quant/block_io.h"
#include "quant/dequant.h"
#include "quant/quantize.h"
#include "quant/scale_search.h"

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

void EncodeQ6_K(const float* x, int64_t num_blocks, uint8_t* blocks) {
  EncodeBlocks<BlockQ6_K>(x, num_blocks, blocks, [](const float* w, BlockQ6_K& block) {
    int8_t codes[BlockQ6_K::kWeights];
    const SuperBlock super = EncodeSuper(w, 16, 16, -128, 127, -32, 31, codes);
    block.scale = super.scale;
    for (int g = 0; g < 16; ++g) block.scales[g] = static_cast<int8_t>(super.s[g]);
    for (int i = 0; i < BlockQ6_K::kWeights; ++i) {
      const int half = i / 128;
      const int r = i % 128;
      const int q = codes[i] + 32;
      block.q_low[half * 64 + r % 64] |= static_cast<uint8_t>((q & 0xF) << (r / 64 * 4));
      block.q_high[half * 32 + r % 32] |= static_cast<uint8_t>((q >> 4) << (r / 32 * 2));
    }
  });
}

}  // namespace rill::quant
