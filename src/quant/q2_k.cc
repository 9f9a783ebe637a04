#include "quant/q2_k.h"

#include "base/float_types.h"
#include "quant/block_io.h"
#include "quant/dequant.h"
#include "quant/quantize.h"
#include "quant/scale_search.h"

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

void EncodeQ2_K(const float* x, int64_t num_blocks, uint8_t* blocks) {
  EncodeBlocks<BlockQ2_K>(x, num_blocks, blocks, [](const float* w, BlockQ2_K& block) {
    int8_t codes[BlockQ2_K::kWeights];
    const SuperBlock super = EncodeSuperMin(w, 16, 16, 15, 3, codes);
    block.scale = super.scale;
    block.min_scale = super.min_scale;
    for (int g = 0; g < 16; ++g) {
      block.scales[g] = static_cast<uint8_t>(super.s[g] | super.m[g] << 4);
    }
    for (int i = 0; i < BlockQ2_K::kWeights; ++i) {
      block.q[i / 128 * 32 + i % 32] |= static_cast<uint8_t>(codes[i] << (i % 128 / 32 * 2));
    }
  });
}

}  // namespace rill::quant
