// q4_0: 32 weights per block, symmetric 4-bit, one f16 scale.
//   w[i] = scale * (q[i] - 8)          4.5 bits per weight, 18 bytes per block
// Nibble order: byte j holds q[j] (low) and q[j + 16] (high).
// Source: GGUF "Q4_0".
#pragma once

#include <cstdint>

namespace rill::quant {

struct BlockQ4_0 {
  static constexpr int kWeights = 32;
  uint16_t scale;  // IEEE f16 bits
  uint8_t q[16];
};
static_assert(sizeof(BlockQ4_0) == 18);

}  // namespace rill::quant
