// u<bits>g<B> (2, 3, 4, 8 bits; B = 32, 64, 128): one group of weights per block, an f16 scale and
// a whole-number zero point.
//   w[i] = scale * (q[i] - zero)                  f32, one rounding
//   u4g128: 4.25 bits per weight, 68 bytes per block;  u8g32: 9 bits, 36 bytes
// What AWQ and GPTQ checkpoints hold, row by row (quant/gptq.h, quant/awq.h), and what --weights
// w4g128 makes. Not a type of any file.
// Order: q[i] is bits [i * bits, (i + 1) * bits) of the bytes, lowest first; at 4 bits byte j holds
// q[2j] (low) and q[2j + 1] (high).
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

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
static_assert(sizeof(BlockU4G32) == 20);
static_assert(sizeof(BlockGrouped<3, 128>) == 52);

// What a u<bits>g<B> type is; bits == 0: another type.
struct GroupedFormat {
  int bits = 0;
  int group = 0;
  constexpr bool operator==(const GroupedFormat&) const = default;
};
constexpr GroupedFormat GroupedFormatOf(DType dtype) {
  switch (dtype) {
#define DTYPE(Name, name, weights, bytes, gguf)
#define DTYPE_GROUPED(Name, name, weights, bytes, gguf) \
  case DType::k##Name: return {((bytes) - 4) * 8 / (weights), weights};
#include "tensor/dtype_list.def"
#undef DTYPE_GROUPED
#undef DTYPE
    default: return {};
  }
}
// The type of blocks of `group` codes of `bits`, which there must be.
DType GroupedDType(int bits, int group);

// Code i of a block's bytes.
template <int kBits>
inline int GroupedCode(const uint8_t* q, int i) {
  const int bit = i * kBits, shift = bit % 8;
  int bytes = q[bit / 8];
  if (shift + kBits > 8) bytes |= q[bit / 8 + 1] << 8;  // 3 bits
  return bytes >> shift & ((1 << kBits) - 1);
}

}  // namespace rill::quant
