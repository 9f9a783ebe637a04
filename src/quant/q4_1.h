// q4_1: 32 weights per block, 4-bit with offset, f16 scale and minimum.
//   w[i] = scale * q[i] + min          5 bits per weight, 20 bytes per block
// Nibble order: byte j holds q[j] (low) and q[j + 16] (high).
// Source: GGUF "Q4_1".
#pragma once

#include <cstdint>

namespace rill::quant {

struct BlockQ4_1 {
  static constexpr int kWeights = 32;
  uint16_t scale;  // IEEE f16 bits
  uint16_t min;    // IEEE f16 bits
  uint8_t q[16];
};
static_assert(sizeof(BlockQ4_1) == 20);

}  // namespace rill::quant
