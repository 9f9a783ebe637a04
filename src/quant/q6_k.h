// q6_k: 256 weights per block in 16 groups of 16; symmetric 6-bit, signed 8-bit scale per group.
//   w[i] = (scale * s[g]) * (q[i] - 32)      g = i / 16
//   6.5625 bits per weight, 210 bytes per block
// Half h of 128 weights, r = i % 128: low four bits in q_low[64 h + r % 64] (low nibble for r < 64,
// else high), two high bits in q_high[32 h + r % 32], bits 2 (r / 32) and 2 (r / 32) + 1.
// Source: GGUF "Q6_K".
#pragma once

#include <cstdint>

namespace rill::quant {

struct BlockQ6_K {
  static constexpr int kWeights = 256;
  uint8_t q_low[128];
  uint8_t q_high[64];
  int8_t scales[16];
  uint16_t scale;  // IEEE f16 bits
};
static_assert(sizeof(BlockQ6_K) == 210);

}  // namespace rill::quant
