// q5_1: 32 weights per block, 5-bit with offset, f16 scale and minimum.
//   w[i] = scale * q[i] + min          6 bits per weight, 24 bytes per block
// Bits lie as in q5_0: nibbles in q_low, fifth bits in q_high.
// Source: GGUF "Q5_1".
#pragma once

#include <cstdint>

namespace rill::quant {

struct BlockQ5_1 {
  static constexpr int kWeights = 32;
  uint16_t scale;  // IEEE f16 bits
  uint16_t min;    // IEEE f16 bits
  uint8_t q_high[4];
  uint8_t q_low[16];
};
static_assert(sizeof(BlockQ5_1) == 24);

}  // namespace rill::quant
