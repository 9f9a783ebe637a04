// q3_k: 256 weights per block in 16 groups of 16; symmetric 3-bit, 6-bit scale per group.
//   w[i] = (scale * (s[g] - 32)) * (q_low[i] - (high bit of i set ? 0 : 4))      g = i / 16
//   3.4375 bits per weight, 110 bytes per block
// q_low: two bits per weight, as in q2_k. high: bit i / 32 of byte i % 32.
// scales (12 bytes): low nibble of s[g] is nibble g / 8 of byte g % 8; its two high bits are bits
// 2 (g / 4) and 2 (g / 4) + 1 of byte 8 + g % 4.
// Source: GGUF "Q3_K".
#pragma once

#include <cstdint>

namespace rill::quant {

struct BlockQ3_K {
  static constexpr int kWeights = 256;
  uint8_t high[32];
  uint8_t q_low[64];
  uint8_t scales[12];
  uint16_t scale;  // IEEE f16 bits
};
static_assert(sizeof(BlockQ3_K) == 110);

}  // namespace rill::quant
