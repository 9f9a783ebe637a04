// tq1_0: 256 ternary weights per block, five to a byte, one f16 scale.
//   w[i] = scale * (t[i] - 1),  t in {0, 1, 2}      1.6875 bits per weight, 54 bytes per block
// A byte holds five base-3 digits as a fixed-point fraction of 256: digit k of byte v is
//   ((v * 3^k mod 256) * 3) >> 8.
// Bytes 0..31: digit k of byte j is weight 32 k + j. Bytes 32..47: weight 160 + 16 k + j.
// The last four bytes carry four digits each: weight 240 + 4 k + j.
// Source: GGUF "TQ1_0".
#pragma once

#include <cstdint>

namespace rill::quant {

struct BlockTQ1_0 {
  static constexpr int kWeights = 256;
  uint8_t q[48];
  uint8_t q_last[4];
  uint16_t scale;  // IEEE f16 bits
};
static_assert(sizeof(BlockTQ1_0) == 54);

}  // namespace rill::quant
