// iq4_xs: 256 weights per block in 8 groups of 32; iq4_nl's codes, 6-bit scale per group.
//   w[i] = (scale * (s[g] - 32)) * kIq4Values[q[i]]      g = i / 32
//   4.25 bits per weight, 136 bytes per block
// s[g]: low four bits in nibble g % 2 of scales_low[g / 2], two high bits at bit 2 g of
// scales_high. q: group g owns bytes 16 g .. 16 g + 15, nibbles as in iq4_nl. Source: GGUF
// "IQ4_XS".
#pragma once

#include <cstdint>

namespace rill::quant {

struct BlockIQ4_XS {
  static constexpr int kWeights = 256;
  uint16_t scale;  // IEEE f16 bits
  uint16_t scales_high;
  uint8_t scales_low[4];
  uint8_t q[128];
};
static_assert(sizeof(BlockIQ4_XS) == 136);

}  // namespace rill::quant
