#include "quant/iq4_nl.h"

#include "base/float_types.h"
#include "quant/block_io.h"
#include "quant/dequant.h"
#include "quant/quantize.h"
#include "quant/scale_search.h"

namespace rill::quant {

void DecodeIQ4_NL(const uint8_t* blocks, int64_t num_blocks, float* out) {
  for (int64_t b = 0; b < num_blocks; ++b, out += BlockIQ4_NL::kWeights) {
    const auto block = LoadBlock<BlockIQ4_NL>(blocks, b);
    const float scale = F16ToF32(block.scale);
    for (int j = 0; j < 16; ++j) {
      out[j] = scale * static_cast<float>(kIq4Values[block.q[j] & 0xF]);
      out[j + 16] = scale * static_cast<float>(kIq4Values[block.q[j] >> 4]);
    }
  }
}

void EncodeIQ4_NL(const float* x, int64_t num_blocks, uint8_t* blocks) {
  static constexpr CodeTable kTable(kIq4Values);
  EncodeBlocks<BlockIQ4_NL>(x, num_blocks, blocks, [](const float* w, BlockIQ4_NL& block) {
    uint8_t codes[BlockIQ4_NL::kWeights];
    block.scale = F16Scale(FitTableScale(w, BlockIQ4_NL::kWeights, kTable).scale);
    RoundToTable(w, BlockIQ4_NL::kWeights, F16ToF32(block.scale), kTable, codes);
    for (int j = 0; j < 16; ++j) {
      block.q[j] = static_cast<uint8_t>(codes[j] | codes[j + 16] << 4);
    }
  });
}

}  // namespace rill::quant
