// mxfp4: 32 weights per block, 4-bit floats (e2m1), one power-of-two scale (e8m0).
//   w[i] = 2^(exponent - 128) * kE2m1Doubled[q[i]]      4.25 bits per weight, 17 bytes per block
// The table holds twice the value of each code, so the scale is half of 2^(exponent - 127).
// Nibble order: byte j holds q[j] (low) and q[j + 16] (high). Exponent 255, NaN in the OCP
// standard, decodes as 2^127 here, as in ggml; what looks for damage (quant/scale_fields.h,
// io/check_tensors.h) counts such a block as 32 NaN.
// Source: GGUF "MXFP4"; OCP Microscaling Formats (MX) v1.0, section 5.3.3.
#pragma once

#include <cstdint>

namespace rill::quant {

struct BlockMXFP4 {
  static constexpr int kWeights = 32;
  uint8_t exponent;
  uint8_t q[16];
};
static_assert(sizeof(BlockMXFP4) == 17);

inline constexpr uint8_t kNanE8M0 = 255;

// Code 8 is minus zero in the standard, plus zero here, as in ggml.
inline constexpr int8_t kE2m1Doubled[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                            0, -1, -2, -3, -4, -6, -8, -12};

}  // namespace rill::quant
