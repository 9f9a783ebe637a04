// u4g32, u4g64, u4g128, u8g32: one group of weights per block, an f16 scale and a whole-number zero
// point.
//   w[i] = scale * (q[i] - zero)                  f32, one rounding
//   u4g128: 4.25 bits per weight, 68 bytes per block;  u8g32: 9 bits, 36 bytes
// What AWQ and GPTQ checkpoints hold, row by row (quant/gptq.h, quant/awq.h), and what --weights
// w4g128 makes. Not a type of any file.
// Order: q[i] is bits [i * bits, (i + 1) * bits) of the bytes, lowest first; at 4 bits byte j holds
// q[2j] (low) and q[2j + 1] (high).
#pragma once

#include <cstdint>

namespace rill::quant {

template <int kBitsPerCode, int kGroup>
struct BlockGrouped {
  static constexpr int kBits = kBitsPerCode;
  static constexpr int kWeights = kGroup;
  uint16_t scale;  // IEEE f16 bits
  int16_t zero;    // in [0, 2^bits)
  uint8_t q[kGroup * kBitsPerCode / 8];
};
using BlockU4G32 = BlockGrouped<4, 32>;
using BlockU4G64 = BlockGrouped<4, 64>;
using BlockU4G128 = BlockGrouped<4, 128>;
using BlockU8G32 = BlockGrouped<8, 32>;
static_assert(sizeof(BlockU4G32) == 20);
static_assert(sizeof(BlockU4G128) == 68);
static_assert(sizeof(BlockU8G32) == 36);

}  // namespace rill::quant
