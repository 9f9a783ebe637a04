// tq2_0: 256 ternary weights per block, two bits each, one f16 scale.
//   w[i] = scale * (t[i] - 1)          2.0625 bits per weight, 66 bytes per block
// Half h of 128 weights owns 32 bytes; byte j of them holds weights 128 h + 32 k + j, k = 0..3, in
// bits 2k and 2k + 1. Code 3 is not ternary; it decodes to 2 * scale.
// Source: GGUF "TQ2_0".
#pragma once

#include <cstdint>

namespace rill::quant {

struct BlockTQ2_0 {
  static constexpr int kWeights = 256;
  uint8_t q[64];
  uint16_t scale;  // IEEE f16 bits
};
static_assert(sizeof(BlockTQ2_0) == 66);

}  // namespace rill::quant
