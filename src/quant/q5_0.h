// q5_0: 32 weights per block, symmetric 5-bit, one f16 scale.
//   w[i] = scale * (q[i] - 16)         5.5 bits per weight, 22 bytes per block
// Low four bits: byte j of q_low holds those of q[j] (low nibble) and q[j + 16] (high nibble).
// Fifth bit: bit i of q_high (little-endian) belongs to q[i].
// Source: GGUF "Q5_0".
#pragma once

#include <cstdint>

namespace rill::quant {

struct BlockQ5_0 {
  static constexpr int kWeights = 32;
  uint16_t scale;  // IEEE f16 bits
  uint8_t q_high[4];
  uint8_t q_low[16];
};
static_assert(sizeof(BlockQ5_0) == 22);

}  // namespace rill::quant
