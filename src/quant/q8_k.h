// q8_k: 256 weights per block, symmetric 8-bit, one f32 scale.
//   w[i] = scale * q[i]                9.125 bits per weight, 292 bytes per block
// group_sums[g] is the sum of q over group g of 16; decoding does not need it.
// Source: GGUF "Q8_K" (ggml's intermediate format of k-quant products; rare in files).
#pragma once

#include <cstdint>

namespace rill::quant {

struct BlockQ8_K {
  static constexpr int kWeights = 256;
  float scale;
  int8_t q[256];
  int16_t group_sums[16];
};
static_assert(sizeof(BlockQ8_K) == 292);

}  // namespace rill::quant
