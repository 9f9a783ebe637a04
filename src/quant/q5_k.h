// q5_k: 256 weights per block in 8 groups of 32; 5-bit, 6-bit scale and minimum per group.
//   w[i] = (scale * s[g]) * q[i] - (min_scale * m[g])      g = i / 32
//   5.5 bits per weight, 176 bytes per block
// Low four bits lie as in q4_k; the fifth bit of weight i is bit i / 32 of high[i % 32].
// scales: UnpackScalesK of quant/q4_k.h.
// Source: GGUF "Q5_K".
#pragma once

#include <cstdint>

namespace rill::quant {

struct BlockQ5_K {
  static constexpr int kWeights = 256;
  uint16_t scale;      // IEEE f16 bits
  uint16_t min_scale;  // IEEE f16 bits
  uint8_t scales[12];
  uint8_t high[32];
  uint8_t q_low[128];
};
static_assert(sizeof(BlockQ5_K) == 176);

}  // namespace rill::quant
