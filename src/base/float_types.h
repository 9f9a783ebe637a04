// Conversions between f32 and the narrow float formats, by bits, exact and portable.
// To narrow: round to nearest even, as IEEE 754 asks. NaN stays NaN (quieted), Inf stays Inf.
#pragma once

#include <bit>
#include <cstdint>

namespace rill {

// IEEE binary16 -> f32, exact, subnormals included.
constexpr float F16ToF32(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  uint32_t exponent = (h >> 10) & 0x1Fu;
  uint32_t mantissa = h & 0x3FFu;
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000u | (mantissa << 13));
  if (exponent == 0) {
    if (mantissa == 0) return std::bit_cast<float>(sign);
    exponent = 1;
    while ((mantissa & 0x400u) == 0) {
      mantissa <<= 1;
      --exponent;
    }
    mantissa &= 0x3FFu;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

constexpr uint16_t F32ToF16(float f) {
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u)
    return static_cast<uint16_t>(sign | 0x7E00u | ((magnitude >> 13) & 0x1FFu));
  if (magnitude >= 0x477FF000u) return static_cast<uint16_t>(sign | 0x7C00u);  // >= 65520
  if (magnitude < 0x38800000u) {                                               // < 2^-14
    if (magnitude < 0x33000000u) return static_cast<uint16_t>(sign);           // < 2^-25
    const uint32_t mantissa = (magnitude & 0x7FFFFFu) | 0x800000u;
    const uint32_t shift = 126u - (magnitude >> 23);  // 14..24
    const uint32_t rest = mantissa & ((1u << shift) - 1);
    const uint32_t half = 1u << (shift - 1);
    uint32_t out = mantissa >> shift;
    if (rest > half || (rest == half && (out & 1))) ++out;
    return static_cast<uint16_t>(sign | out);
  }
  const uint32_t rounded = magnitude + 0xFFFu + ((magnitude >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

constexpr float Bf16ToF32(uint16_t b) {
  return std::bit_cast<float>(static_cast<uint32_t>(b) << 16);
}

constexpr uint16_t F32ToBf16(float f) {
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

// FP8 E4M3 "FN" (OCP OFP8): no infinities, S.1111.111 is NaN, bias 7.
constexpr float F8E4M3ToF32(uint8_t b) {
  const float sign = (b & 0x80u) ? -1.0f : 1.0f;
  const uint32_t exponent = (b >> 3) & 0xFu;
  const uint32_t mantissa = b & 7u;
  if (exponent == 0xF && mantissa == 7) return std::bit_cast<float>(0x7FC00000u);
  if (exponent == 0) return sign * static_cast<float>(mantissa) * 0x1p-9f;
  return sign * std::bit_cast<float>(((exponent + 120) << 23) | (mantissa << 20));
}

// FP8 E5M2 (OCP OFP8): IEEE-like, the upper byte of a binary16.
constexpr float F8E5M2ToF32(uint8_t b) {
  return F16ToF32(static_cast<uint16_t>(b << 8));
}

}  // namespace rill
