// q2_k: 256 weights per block in 16 groups of 16; 2-bit, 4-bit scale and minimum per group.
//   w[i] = (scale * s[g]) * q[i] - (min_scale * m[g])      g = i / 16
//   2.625 bits per weight, 84 bytes per block
// scales[g]: s in the low nibble, m in the high one. q: half h of 128 weights owns 32 bytes; byte j
// of them holds weights 128 h + 32 k + j, k = 0..3, in bits 2k and 2k + 1.
// Source: GGUF "Q2_K".
#pragma once

#include <cstdint>

namespace rill::quant {

struct BlockQ2_K {
  static constexpr int kWeights = 256;
  uint8_t scales[16];
  uint8_t q[64];
  uint16_t scale;      // IEEE f16 bits
  uint16_t min_scale;  // IEEE f16 bits
};
static_assert(sizeof(BlockQ2_K) == 84);

}  // namespace rill::quant
