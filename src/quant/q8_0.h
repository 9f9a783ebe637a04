// q8_0: 32 weights per block, symmetric 8-bit, one f16 scale.
//   w[i] = scale * q[i]                8.5 bits per weight, 34 bytes per block
// Source: GGUF "Q8_0".
#pragma once

#include <cstdint>

namespace rill::quant {

struct BlockQ8_0 {
  static constexpr int kWeights = 32;
  uint16_t scale;  // IEEE f16 bits
  int8_t q[32];
};
static_assert(sizeof(BlockQ8_0) == 34);

}  // namespace rill::quant
