#include "quant/q8_k.h"

#include "quant/block_io.h"
#include "quant/dequant.h"

namespace rill::quant {

void DecodeQ8_K(const uint8_t* blocks, int64_t num_blocks, float* out) {
  for (int64_t b = 0; b < num_blocks; ++b, out += BlockQ8_K::kWeights) {
    const auto block = LoadBlock<BlockQ8_K>(blocks, b);
    for (int i = 0; i < BlockQ8_K::kWeights; ++i) {
      out[i] = block.scale * static_cast<float>(block.q[i]);
    }
  }
}

}  // namespace rill::quant
