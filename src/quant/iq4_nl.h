// iq4_nl: 32 weights per block, 4-bit codes into a table of 16 unevenly spaced values, f16 scale.
//   w[i] = scale * kIq4Values[q[i]]    4.5 bits per weight, 18 bytes per block
// Nibble order: byte j holds q[j] (low) and q[j + 16] (high).
// Source: GGUF "IQ4_NL".
#pragma once

#include <cstdint>

namespace rill::quant {

struct BlockIQ4_NL {
  static constexpr int kWeights = 32;
  uint16_t scale;  // IEEE f16 bits
  uint8_t q[16];
};
static_assert(sizeof(BlockIQ4_NL) == 18);

// Shared with iq4_xs.
inline constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};

}  // namespace rill::quant
