// ExecFormat: how the CPU backend keeps a weight matrix, and what its codes mean.
//
// A weight matrix [rows, k] is cut into panels of 16 rows (the last one padded with zeros). Plain
// formats (f32, f16, bf16) store a panel as [k][16]. Quantised formats store it as units of 32 k:
//
//   panel  = k / 32 units; a header before every header_units() of them, if the format has one
//   header = what 256 k share (kSuper*):  d f16[16] | d f32[16] | d f16[16], dmin f16[16]
//            what a group of more than 32 k shares (kWide): s f16[16] | s f32[16] |
//            s f16[16], z u8[16]
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
//
// To add a format: a line in exec_list.def, its dtype in ExecOf(), an Extract function in pack.cc.
// A format of 32 or more k a group with one scale (and perhaps a zero point) a group, whatever the
// group's size, is one of the kWide lines already: give the weight its group (CpuWeight::Segment::
// group) and fill its panels with PackWidePanel (packed_weight.h); no kernel is needed.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace rill::cpu {

// Of the bytes of all panels, quantised and plain: raised whenever the same weights are laid out
// otherwise, so that panels kept by an earlier build are made anew (docs/models.md).
inline constexpr int kPanelLayoutVersion = 1;
inline constexpr int kPanelRows = 16;
inline constexpr int kUnit = 32;          // k of one unit
inline constexpr int kUnitsPerSuper = 8;  // 256 k
inline constexpr int kWide = 0;           // group: from the weight, a multiple of 32

enum class CodeKind : uint8_t {
  kPlain,     // no codes: elements
  kUnsigned,  // code - offset
  kSigned,    // 8-bit two's complement
  kIq4,       // 4-bit index into the IQ4 codebook (signed 8-bit values)
  kMxfp4,     // 4-bit index into the E2M1 values times two, plus 12
};

enum class ScaleKind : uint8_t {
  kNone,
  kF16,         // s f16[16] a unit
  kF16Min,      // s f16[16], m f16[16] a unit
  kE8M0,        // s = 2^(e - 128), e u8[16] a unit
  kSuperF16,    // s = d, no scale in the unit
  kSuperF32,    // s = d (f32)
  kSuperS8,     // s = d * s8[16] a group
  kSuperU8Min,  // s = d * u8[16], m = -dmin * u8[16] a group
  kF16Zero,     // s f16[16], zero point u8[16], as wide as the codes: code - zero
  kF32,         // s f32[16]
};

struct ExecFormat {
  int bits = 0;
  CodeKind code = CodeKind::kPlain;
  int offset = 0;
  int group = 32;  // k that share one scale: 16, 32 or kWide
  ScaleKind scale = ScaleKind::kNone;

  constexpr bool wide() const { return group == kWide; }
  constexpr bool is_super() const {
    return scale == ScaleKind::kSuperF16 || scale == ScaleKind::kSuperF32 ||
           scale == ScaleKind::kSuperS8 || scale == ScaleKind::kSuperU8Min;
  }
  constexpr int code_bytes() const { return 64 * bits; }
  constexpr int group_scale_bytes() const {
    if (wide()) return 0;
    switch (scale) {
      case ScaleKind::kF16: return 32;
      case ScaleKind::kF16Min: return 64;
      case ScaleKind::kE8M0: return 16;
      case ScaleKind::kSuperS8: return 16;
      case ScaleKind::kSuperU8Min: return 32;
      default: return 0;
    }
  }
  constexpr int groups() const { return group == 16 ? 2 : 1; }  // of a unit
  constexpr int scale_bytes() const { return group_scale_bytes() * groups(); }
  constexpr int unit_bytes() const { return scale_bytes() + code_bytes(); }
  constexpr int header_bytes() const {
    switch (scale) {
      case ScaleKind::kSuperF16: return 32;
      case ScaleKind::kSuperF32: return 64;
      case ScaleKind::kSuperS8: return 32;
      case ScaleKind::kSuperU8Min: return 64;
      case ScaleKind::kF16: return wide() ? 32 : 0;
      case ScaleKind::kF16Zero: return 48;
      case ScaleKind::kF32: return 64;
      default: return 0;
    }
  }
  constexpr bool has_min() const {
    return scale == ScaleKind::kF16Min || scale == ScaleKind::kSuperU8Min;
  }
  // Zero points: of codes of less than 8 bits, code - zero fits a byte; of 8 bits it does not, and
  // the zero point meets the group's sum of activation codes instead.
  constexpr bool has_zero() const { return scale == ScaleKind::kF16Zero && bits < 8; }
  constexpr bool zero_in_sum() const { return scale == ScaleKind::kF16Zero && bits == 8; }
  // A second number beside the scale: the minimum, or the zero point of zero_in_sum.
  constexpr bool has_m() const { return has_min() || zero_in_sum(); }
  // Units between headers; `group_units` is the weight's group in units (wide formats).
  constexpr int64_t header_units(int64_t group_units) const {
    return wide() ? group_units : kUnitsPerSuper;
  }
  // Bytes of the panel before unit `u` (which begins with a header when u % header_units == 0).
  constexpr int64_t UnitOffset(int64_t u, int64_t group_units) const {
    const int64_t step = header_units(group_units);
    return u * unit_bytes() + (u + step - 1) / step * header_bytes();
  }
  constexpr bool operator==(const ExecFormat&) const = default;
};

enum class ExecId : uint8_t {
#define EXEC(Name, bits, code, offset, group, scale) k##Name,
#include "backends/cpu/exec_list.def"
#undef EXEC
  kCount,
  kNone = kCount,  // no quantised layout: plain elements
};
inline constexpr int kNumExecs = static_cast<int>(ExecId::kCount);

constexpr ExecFormat FormatOf(ExecId id) {
  switch (id) {
#define EXEC(Name, bits, code, offset, group, scale) \
  case ExecId::k##Name: return {bits, CodeKind::code, offset, group, ScaleKind::scale};
#include "backends/cpu/exec_list.def"
#undef EXEC
    default: return {};
  }
}

// The layout that a file's blocks are packed to.
constexpr ExecId ExecOf(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0: return ExecId::kQ4_0;
    case DType::kQ4_1: return ExecId::kQ4_1;
    case DType::kQ5_0: return ExecId::kQ5_0;
    case DType::kQ5_1: return ExecId::kQ5_1;
    case DType::kQ8_0: return ExecId::kQ8_0;
    case DType::kQ2_K: return ExecId::kQ2_K;
    case DType::kQ3_K: return ExecId::kQ3_K;
    case DType::kQ4_K: return ExecId::kQ4_K;
    case DType::kQ5_K: return ExecId::kQ5_K;
    case DType::kQ6_K: return ExecId::kQ6_K;
    case DType::kQ8_K: return ExecId::kQ8_K;
    case DType::kIQ4_NL: return ExecId::kIQ4_NL;
    case DType::kIQ4_XS: return ExecId::kIQ4_XS;
    case DType::kTQ1_0:
    case DType::kTQ2_0: return ExecId::kTQ2_0;
    case DType::kMXFP4: return ExecId::kMXFP4;
    default: return ExecId::kNone;
  }
}

// E2M1 values times two (quant/mxfp4.h), offset by 12 to be unsigned; index 8 is minus zero.
inline constexpr uint8_t kMxfp4Codes[16] = {12, 13, 14, 15, 16, 18, 20, 24,
                                            12, 11, 10, 9,  8,  6,  4,  0};

// What an instruction set has for integer dot products (codes.inl, gemm_q8.inl).
enum class IntegerDot : uint8_t {
  kPairs,       // 8-bit products added in pairs to 16 bits: vpmaddubsw
  kQuad,        // four 8-bit products added to 32 bits: vpdpbusd; plain C++
  kTiles,       // kQuad, and a tile unit for many tokens: AMX
  kSingles,     // 8-bit products added to 16 bits, each place by itself: smlal
  kSignedQuad,  // four signed 8-bit products added to 32 bits: sdot
  kRowPairs,    // kSignedQuad, and 2 rows times 2 tokens times 8 k for many tokens: smmla
};
constexpr bool IsSignedQuad(IntegerDot d) {
  return d == IntegerDot::kSignedQuad || d == IntegerDot::kRowPairs;
}

// How the codes of a tile are laid out, T = its width.
enum class TileLayout : uint8_t {
  kQuads,   // [k / 4][T][4]: a kernel reads them as one stream
  kUnits,   // [k / 32][T][32]: rows of an AMX tile
  kEights,  // [k / 8][T][8], T even: two tokens are an operand of smmla
};

// Activations of `width` tokens, quantised per group of 32 k, or of the weight's own group when it
// is wide. "Group" below is that; planes are [groups][width].
struct QuantTile {
  int8_t* codes;
  float* scale;         // d
  int32_t* neg_sum;     // -(sum of the group's codes)
  float* scaled_sum;    // d * float(sum)
  int32_t* neg_sum16;   // [k / 16][width], the same of 16 codes; null when nobody asks
  float* scaled_sum16;  // d * float(sum of 16)
};

// A panel in work form, which a matrix kernel for many tokens reads: one byte a code, f32 scales.
//   codes  [k / 32][8 quads][64]; for kRowPairs [k / 32][4 pairs of quads][16 rows][8 k]
//   s      f32 [groups][16], then m f32 [groups][16] for formats with has_m()
constexpr int64_t WorkGroups(ExecFormat f, int64_t k, int64_t group_units) {
  if (f.wide()) return (k / kUnit + group_units - 1) / group_units;
  return k / f.group;
}
constexpr int64_t WorkBytes(ExecFormat f, int64_t k, int64_t group_units) {
  return k * kPanelRows + WorkGroups(f, k, group_units) * kPanelRows * 4 * (f.has_m() ? 2 : 1);
}

}  // namespace rill::cpu
