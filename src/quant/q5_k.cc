#include "quant/q5_k.h"

#include "base/float_types.h"
#include "quant/block_io.h"
#include "quant/dequant.h"
#include "quant/q4_k.h"
#include "quant/quantize.h"
#include "quant/scale_search.h"

namespace rill::quant {

void DecodeQ5_K(const uint8_t* blocks, int64_t num_blocks, float* out) {
  for (int64_t b = 0; b < num_blocks; ++b, out += BlockQ5_K::kWeights) {
    const auto block = LoadBlock<BlockQ5_K>(blocks, b);
    const float scale = F16ToF32(block.scale);
    const float min_scale = F16ToF32(block.min_scale);
    uint8_t s[8], m[8];
    UnpackScalesK(block.scales, s, m);
    for (int g = 0; g < 8; ++g) {
      const float group_scale = scale * static_cast<float>(s[g]);
      const float group_min = min_scale * static_cast<float>(m[g]);
      const uint8_t* q = block.q_low + g / 2 * 32;
      for (int i = 0; i < 32; ++i) {
        const int low = (q[i] >> (g % 2 * 4)) & 0xF;
        const int high = (block.high[i] >> g) & 1;
        out[g * 32 + i] = group_scale * static_cast<float>(low | high << 4) - group_min;
      }
    }
  }
}

void EncodeQ5_K(const float* x, int64_t num_blocks, uint8_t* blocks) {
  EncodeBlocks<BlockQ5_K>(x, num_blocks, blocks, [](const float* w, BlockQ5_K& block) {
    int8_t codes[BlockQ5_K::kWeights];
    const SuperBlock super = EncodeSuperMin(w, 8, 32, 63, 31, codes);
    block.scale = super.scale;
    block.min_scale = super.min_scale;
    PackScalesK(super.s, super.m, block.scales);
    for (int i = 0; i < BlockQ5_K::kWeights; ++i) {
      const int g = i / 32;
      block.q_low[g / 2 * 32 + i % 32] |= static_cast<uint8_t>((codes[i] & 0xF) << (g % 2 * 4));
      block.high[i % 32] |= static_cast<uint8_t>((codes[i] >> 4) << g);
    }
  });
}

}  // namespace rill::quant
