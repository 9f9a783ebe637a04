// ExecFormat: how the CPU backend keeps a weight matrix, and what its codes mean.
//
// A weight matrix [rows, k] is cut into panels of 16 rows (the last one padded with zeros). Plain
// formats (f32, f16, bf16) store a panel as [k][16]. Quantised formats store it as units of 32 k:
//
//   panel  = k / 32 units; before units 0, 8, 16, … a super header, if the format has one
//   super  = d f16[16] | d f32[16] | d f16[16], dmin f16[16]          once per 256 k
//   unit   = scales, then codes
//   scales = per ScaleKind below, rows side by side
//   codes  = bit planes; 4 consecutive k of a row sit together, rows side by side ("quad" q holds
//            k = 4q .. 4q + 3 of all 16 rows, 64 bytes at 8 bits):
//              4-bit plane  4 lines of 64 bytes: quad 2i in the low, 2i + 1 in the high nibbles
//              2-bit plane  2 lines: quad q in bits 2 (q % 4) .. of line q / 4
//              1-bit plane  1 line:  quad q in bit q
//              8-bit        8 lines
//            5 bits = 4 + 1, 6 bits = 4 + 2, 3 bits = 2 + 1 (low bits first).
//
// The represented weight is exactly that of the file format:  w = s * (code - offset) [+ m].
// Adding a format means: one line in FormatOf(), an Extract function in pack.cc.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace rill::cpu {

inline constexpr int kPanelRows = 16;
inline constexpr int kUnit = 32;          // k of one unit
inline constexpr int kUnitsPerSuper = 8;  // 256 k

enum class CodeKind : uint8_t {
  kPlain,     // no codes: elements
  kUnsigned,  // code - offset
  kSigned,    // 8-bit two's complement
  kIq4,       // 4-bit index into the IQ4 codebook (signed 8-bit values)
  kMxfp4,     // 4-bit index into the E2M1 values times two, plus 12
};

enum class ScaleKind : uint8_t {
  kNone,
  kF16,        // s f16[16] a unit
  kF16Min,     // s f16[16], m f16[16] a unit
  kE8M0,       // s = 2^(e - 128), e u8[16] a unit
  kSuperF16,   // s = d, no scale in the unit
  kSuperF32,   // s = d (f32)
  kSuperS8,    // s = d * s8[16] a group
  kSuperU8Min  // s = d * u8[16], m = -dmin * u8[16] a group
};

struct ExecFormat {
  int bits = 0;
  CodeKind code = CodeKind::kPlain;
  int offset = 0;
  int group = 32;  // k that share one scale: 16 or 32
  ScaleKind scale = ScaleKind::kNone;

  constexpr int code_bytes() const { return 64 * bits; }
  constexpr int group_scale_bytes() const {
    switch (scale) {
      case ScaleKind::kF16: return 32;
      case ScaleKind::kF16Min: return 64;
      case ScaleKind::kE8M0: return 16;
      case ScaleKind::kSuperS8: return 16;
      case ScaleKind::kSuperU8Min: return 32;
      default: return 0;
    }
  }
  constexpr int groups() const { return kUnit / group; }
  constexpr int scale_bytes() const { return group_scale_bytes() * groups(); }
  constexpr int unit_bytes() const { return scale_bytes() + code_bytes(); }
  constexpr int super_bytes() const {
    switch (scale) {
      case ScaleKind::kSuperF16: return 32;
      case ScaleKind::kSuperF32: return 64;
      case ScaleKind::kSuperS8: return 32;
      case ScaleKind::kSuperU8Min: return 64;
      default: return 0;
    }
  }
  constexpr bool has_min() const {
    return scale == ScaleKind::kF16Min || scale == ScaleKind::kSuperU8Min;
  }
  // Bytes of the panel before unit `u` (which begins with a super header when u % 8 == 0).
  constexpr int64_t UnitOffset(int64_t u) const {
    return u * unit_bytes() + (u + kUnitsPerSuper - 1) / kUnitsPerSuper * super_bytes();
  }
  constexpr bool operator==(const ExecFormat&) const = default;
};

// bits == 0 for types that have no quantised exec layout.
constexpr ExecFormat FormatOf(DType dtype) {
  using enum CodeKind;
  switch (dtype) {
    case DType::kQ4_0: return {4, kUnsigned, 8, 32, ScaleKind::kF16};
    case DType::kQ4_1: return {4, kUnsigned, 0, 32, ScaleKind::kF16Min};
    case DType::kQ5_0: return {5, kUnsigned, 16, 32, ScaleKind::kF16};
    case DType::kQ5_1: return {5, kUnsigned, 0, 32, ScaleKind::kF16Min};
    case DType::kQ8_0: return {8, kSigned, 0, 32, ScaleKind::kF16};
    case DType::kQ2_K: return {2, kUnsigned, 0, 16, ScaleKind::kSuperU8Min};
    case DType::kQ3_K: return {3, kUnsigned, 4, 16, ScaleKind::kSuperS8};
    case DType::kQ4_K: return {4, kUnsigned, 0, 32, ScaleKind::kSuperU8Min};
    case DType::kQ5_K: return {5, kUnsigned, 0, 32, ScaleKind::kSuperU8Min};
    case DType::kQ6_K: return {6, kUnsigned, 32, 16, ScaleKind::kSuperS8};
    case DType::kQ8_K: return {8, kSigned, 0, 32, ScaleKind::kSuperF32};
    case DType::kIQ4_NL: return {4, kIq4, 0, 32, ScaleKind::kF16};
    case DType::kIQ4_XS: return {4, kIq4, 0, 32, ScaleKind::kSuperS8};
    case DType::kTQ1_0:
    case DType::kTQ2_0: return {2, kUnsigned, 1, 32, ScaleKind::kSuperF16};
    case DType::kMXFP4: return {4, kMxfp4, 12, 32, ScaleKind::kE8M0};
    default: return {};
  }
}

// E2M1 values times two (quant/mxfp4.h), offset by 12 to be unsigned; index 8 is minus zero.
inline constexpr uint8_t kMxfp4Codes[16] = {12, 13, 14, 15, 16, 18, 20, 24,
                                            12, 11, 10, 9,  8,  6,  4,  0};

// Activations of `width` tokens, quantised per 32 k, tokens interleaved so that a kernel reads them
// as one stream. With t in [0, width):
struct QuantTile {
  int8_t* codes;      // [k / 4][width][4]
  float* scale;       // [k / 32][width]     d
  float* scaled_sum;  // [k / 32][width]     d * float(sum of the 32 codes)
  int32_t* sums;      // [k / 32][3][width]  sum of codes 0..15, 16..31, 0..31
};

}  // namespace rill::cpu
