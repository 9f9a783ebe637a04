// q4_k: 256 weights per block in 8 groups of 32; 4-bit, 6-bit scale and minimum per group.
//   w[i] = (scale * s[g]) * q[i] - (min_scale * m[g])      g = i / 32
//   4.5 bits per weight, 144 bytes per block
// q: groups 2p (low nibbles) and 2p + 1 (high nibbles) share bytes 32 p .. 32 p + 31.
// scales: see UnpackScalesK.
// Source: GGUF "Q4_K".
#pragma once

#include <cstdint>

namespace rill::quant {

struct BlockQ4_K {
  static constexpr int kWeights = 256;
  uint16_t scale;      // IEEE f16 bits
  uint16_t min_scale;  // IEEE f16 bits
  uint8_t scales[12];
  uint8_t q[128];
};
static_assert(sizeof(BlockQ4_K) == 144);

// The eight 6-bit scales s and minima m of q4_k and q5_k, packed into 12 bytes:
//   g < 4:  s[g] = low 6 bits of byte g,  m[g] = low 6 bits of byte 4 + g
//   g >= 4: s[g] = low nibble of byte 4 + g with the top two bits of byte g - 4 above it,
//           m[g] = high nibble of byte 4 + g with the top two bits of byte g above it
inline void UnpackScalesK(const uint8_t packed[12], uint8_t s[8], uint8_t m[8]) {
  for (int g = 0; g < 4; ++g) {
    s[g] = packed[g] & 0x3F;
    m[g] = packed[4 + g] & 0x3F;
    s[g + 4] = static_cast<uint8_t>((packed[8 + g] & 0xF) | (packed[g] >> 6 << 4));
    m[g + 4] = static_cast<uint8_t>((packed[8 + g] >> 4) | (packed[4 + g] >> 6 << 4));
  }
}

// The inverse: s and m in [0, 63].
inline void PackScalesK(const int s[8], const int m[8], uint8_t packed[12]) {
  for (int g = 0; g < 4; ++g) {
    packed[g] = static_cast<uint8_t>(s[g] | s[g + 4] >> 4 << 6);
    packed[4 + g] = static_cast<uint8_t>(m[g] | m[g + 4] >> 4 << 6);
    packed[8 + g] = static_cast<uint8_t>((s[g + 4] & 0xF) | (m[g + 4] & 0xF) << 4);
  }
}

}  // namespace rill::quant
