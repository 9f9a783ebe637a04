// From file blocks to panels. Lossless: codes and scales are moved, never recomputed.
//
// A format has one Extract function: the codes of 32 weights of one row, in k order, and its
// scales.
#include <cmath>
#include <cstddef>
#include <cstring>

#include "backends/cpu/packed_weight.h"
#include "base/float_types.h"
#include "quant/iq4_nl.h"
#include "quant/iq4_xs.h"
#include "quant/mxfp4.h"
#include "quant/q2_k.h"
#include "quant/q3_k.h"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q4_k.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/q8_0.h"
#include "quant/q8_k.h"
#include "quant/scale_fields.h"
#include "quant/tq1_0.h"
#include "quant/tq2_0.h"

namespace rill::cpu {
namespace {

// What one row contributes to one unit.
struct RowUnit {
  alignas(16) uint8_t codes[kUnit];
  uint32_t high = 0;        // 5 bits: bit 4 of code i in bit i
  uint32_t pairs[2] = {};   // 6 bits: the lines of the 2-bit plane
  uint32_t low[4];          // instead of the low 4 bits of `codes`: the lines of the 4-bit plane
  uint16_t s = 0, m = 0;    // f16 scale and minimum of the group, or of the super-block
  float s32 = 0;            // Q8_K
  uint8_t group_s[2] = {};  // integer scales and minima per group (or an exponent)
  uint8_t group_m[2] = {};
};

template <typename T>
T Read(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

// Bit g of 32 bytes, byte i to bit i.
uint32_t BitOfBytes(const uint8_t* bytes, int g) {
  uint32_t bits = 0;
  for (int i = 0; i < 4; ++i) {
    uint64_t w;
    std::memcpy(&w, bytes + 8 * i, 8);
    // The multiplication gathers bit 0 of the 8 bytes in the top byte.
    const uint64_t ones = w >> g & 0x0101010101010101u;
    bits |= static_cast<uint32_t>(ones * 0x0102040810204080u >> 56) << (8 * i);
  }
  return bits;
}
constexpr uint32_t kLow4 = 0x0F0F0F0Fu, kHigh4 = 0xF0F0F0F0u;
// Lines of the 4-bit plane from 16 bytes whose low nibbles are codes 0..15 and high ones 16..31:
// four codes at a time (through bytes it took three times as long).
void NibbleLines(const uint8_t* q, uint32_t* line) {
  uint32_t w[4];
  std::memcpy(w, q, sizeof w);
  line[0] = (w[0] & kLow4) | (w[1] & kLow4) << 4;
  line[1] = (w[2] & kLow4) | (w[3] & kLow4) << 4;
  line[2] = (w[0] >> 4 & kLow4) | (w[1] & kHigh4);
  line[3] = (w[2] >> 4 & kLow4) | (w[3] & kHigh4);
}
// The same from 32 bytes that hold code i in nibble `high` of byte i.
void NibbleLinesK(const uint8_t* q, bool high, uint32_t* line) {
  uint32_t w[8];
  std::memcpy(w, q, sizeof w);
  for (int i = 0; i < 4; ++i) {
    const uint32_t a = w[2 * i], b = w[2 * i + 1];
    line[i] = high ? (a >> 4 & kLow4) | (b & kHigh4) : (a & kLow4) | (b & kLow4) << 4;
  }
}

template <DType kDType>
struct Extract;

#define RILL_EXTRACT(Name)                                                                    \
  template <>                                                                                 \
  struct Extract<DType::k##Name> {                                                            \
    using Block = quant::Block##Name;                                                         \
    static void Run(const uint8_t* row, int64_t unit, RowUnit& out);                          \
  };                                                                                          \
  [[maybe_unused]] inline void Extract<DType::k##Name>::Run(const uint8_t* row, int64_t unit, \
                                                            RowUnit& out)

#define RILL_FIELD(b, field) ((b) + offsetof(Block, field))

RILL_EXTRACT(Q4_0) {
  const uint8_t* b = row + unit * int64_t{sizeof(Block)};
  out.s = Read<uint16_t>(RILL_FIELD(b, scale));
  NibbleLines(RILL_FIELD(b, q), out.low);
}
RILL_EXTRACT(Q4_1) {
  const uint8_t* b = row + unit * int64_t{sizeof(Block)};
  out.s = Read<uint16_t>(RILL_FIELD(b, scale));
  out.m = Read<uint16_t>(RILL_FIELD(b, min));
  NibbleLines(RILL_FIELD(b, q), out.low);
}
RILL_EXTRACT(Q5_0) {
  const uint8_t* b = row + unit * int64_t{sizeof(Block)};
  out.s = Read<uint16_t>(RILL_FIELD(b, scale));
  NibbleLines(RILL_FIELD(b, q_low), out.low);
  out.high = Read<uint32_t>(RILL_FIELD(b, q_high));
}
RILL_EXTRACT(Q5_1) {
  const uint8_t* b = row + unit * int64_t{sizeof(Block)};
  out.s = Read<uint16_t>(RILL_FIELD(b, scale));
  out.m = Read<uint16_t>(RILL_FIELD(b, min));
  NibbleLines(RILL_FIELD(b, q_low), out.low);
  out.high = Read<uint32_t>(RILL_FIELD(b, q_high));
}
RILL_EXTRACT(Q8_0) {
  const uint8_t* b = row + unit * int64_t{sizeof(Block)};
  out.s = Read<uint16_t>(RILL_FIELD(b, scale));
  std::memcpy(out.codes, RILL_FIELD(b, q), kUnit);
}
RILL_EXTRACT(IQ4_NL) {
  const uint8_t* b = row + unit * int64_t{sizeof(Block)};
  out.s = Read<uint16_t>(RILL_FIELD(b, scale));
  NibbleLines(RILL_FIELD(b, q), out.low);
}
RILL_EXTRACT(MXFP4) {
  const uint8_t* b = row + unit * int64_t{sizeof(Block)};
  out.group_s[0] = *RILL_FIELD(b, exponent);
  NibbleLines(RILL_FIELD(b, q), out.low);
}

// 2-bit codes of q2_k, q3_k and tq2_0: 128 weights share 32 bytes, 32 of them per bit pair.
void TwoBits(const uint8_t* q, int g, uint8_t* codes) {
  for (int i = 0; i < kUnit; ++i) {
    codes[i] = static_cast<uint8_t>((q[g / 4 * 32 + i] >> (g % 4 * 2)) & 3);
  }
}
RILL_EXTRACT(Q2_K) {
  const uint8_t* b = row + unit / 8 * int64_t{sizeof(Block)};
  const int g = static_cast<int>(unit % 8);
  out.s = Read<uint16_t>(RILL_FIELD(b, scale));
  out.m = Read<uint16_t>(RILL_FIELD(b, min_scale));
  for (int i = 0; i < 2; ++i) {
    const uint8_t packed = RILL_FIELD(b, scales)[2 * g + i];
    out.group_s[i] = packed & 15;
    out.group_m[i] = packed >> 4;
  }
  TwoBits(RILL_FIELD(b, q), g, out.codes);
}
RILL_EXTRACT(Q3_K) {
  const uint8_t* b = row + unit / 8 * int64_t{sizeof(Block)};
  const int g = static_cast<int>(unit % 8);
  out.s = Read<uint16_t>(RILL_FIELD(b, scale));
  const uint8_t* scales = RILL_FIELD(b, scales);
  for (int i = 0; i < 2; ++i) {
    const int h = 2 * g + i;
    const int low = (scales[h % 8] >> (h / 8 * 4)) & 15;
    const int high = (scales[8 + h % 4] >> (h / 4 * 2)) & 3;
    out.group_s[i] = static_cast<uint8_t>((low | high << 4) - 32);
  }
  TwoBits(RILL_FIELD(b, q_low), g, out.codes);
  const uint8_t* high = RILL_FIELD(b, high);
  for (int i = 0; i < kUnit; ++i) {
    out.codes[i] |= static_cast<uint8_t>(((high[i] >> g) & 1) << 2);
  }
}
// Groups 2p and 2p + 1 share 32 bytes: low and high nibbles.
void NibblesK(const uint8_t* q, int g, RowUnit& out) {
  NibbleLinesK(q + g / 2 * 32, g % 2 != 0, out.low);
}
void ScalesK(const uint8_t* packed, int g, RowUnit& out) {
  uint8_t s[8], m[8];
  quant::UnpackScalesK(packed, s, m);
  out.group_s[0] = s[g];
  out.group_m[0] = m[g];
}
RILL_EXTRACT(Q4_K) {
  const uint8_t* b = row + unit / 8 * int64_t{sizeof(Block)};
  const int g = static_cast<int>(unit % 8);
  out.s = Read<uint16_t>(RILL_FIELD(b, scale));
  out.m = Read<uint16_t>(RILL_FIELD(b, min_scale));
  ScalesK(RILL_FIELD(b, scales), g, out);
  NibblesK(RILL_FIELD(b, q), g, out);
}
RILL_EXTRACT(Q5_K) {
  const uint8_t* b = row + unit / 8 * int64_t{sizeof(Block)};
  const int g = static_cast<int>(unit % 8);
  out.s = Read<uint16_t>(RILL_FIELD(b, scale));
  out.m = Read<uint16_t>(RILL_FIELD(b, min_scale));
  ScalesK(RILL_FIELD(b, scales), g, out);
  NibblesK(RILL_FIELD(b, q_low), g, out);
  out.high = BitOfBytes(RILL_FIELD(b, high), g);
}
RILL_EXTRACT(Q6_K) {
  const uint8_t* b = row + unit / 8 * int64_t{sizeof(Block)};
  const int g = static_cast<int>(unit % 8);
  out.s = Read<uint16_t>(RILL_FIELD(b, scale));
  for (int i = 0; i < 2; ++i) out.group_s[i] = RILL_FIELD(b, scales)[2 * g + i];
  // Within 128 weights: r = 32 (g % 4) + i; low nibbles in 64 bytes, high pairs in 32.
  const uint8_t* low = RILL_FIELD(b, q_low) + g / 4 * 64 + g % 2 * 32;
  const uint8_t* high = RILL_FIELD(b, q_high) + g / 4 * 32;
  NibbleLinesK(low, g % 4 >= 2, out.low);
  uint32_t w[8];
  std::memcpy(w, high, sizeof w);
  for (int i = 0; i < 8; ++i) {
    const uint32_t pairs = w[i] >> (g % 4 * 2) & 0x03030303u;
    out.pairs[i / 4] = (i % 4 == 0 ? 0 : out.pairs[i / 4]) | pairs << (i % 4 * 2);
  }
}
RILL_EXTRACT(Q8_K) {
  const uint8_t* b = row + unit / 8 * int64_t{sizeof(Block)};
  out.s32 = Read<float>(RILL_FIELD(b, scale));
  std::memcpy(out.codes, RILL_FIELD(b, q) + unit % 8 * kUnit, kUnit);
}
RILL_EXTRACT(IQ4_XS) {
  const uint8_t* b = row + unit / 8 * int64_t{sizeof(Block)};
  const int g = static_cast<int>(unit % 8);
  out.s = Read<uint16_t>(RILL_FIELD(b, scale));
  const int low = (RILL_FIELD(b, scales_low)[g / 2] >> (g % 2 * 4)) & 15;
  const int high = (Read<uint16_t>(RILL_FIELD(b, scales_high)) >> (2 * g)) & 3;
  out.group_s[0] = static_cast<uint8_t>((low | high << 4) - 32);
  NibbleLines(RILL_FIELD(b, q) + g * 16, out.low);
}
// Weight i of the block's 256: 160 in 32 bytes x 5 digits, 80 in 16 bytes x 5, 16 in 4 bytes x 4.
RILL_EXTRACT(TQ1_0) {
  const uint8_t* b = row + unit / 8 * int64_t{sizeof(Block)};
  out.s = Read<uint16_t>(RILL_FIELD(b, scale));
  static constexpr int kPower[5] = {1, 3, 9, 27, 81};
  for (int j = 0; j < kUnit; ++j) {
    const int i = static_cast<int>(unit % 8) * kUnit + j;
    uint8_t byte;
    int digit;
    if (i < 160) {
      byte = RILL_FIELD(b, q)[i % 32];
      digit = i / 32;
    } else if (i < 240) {
      byte = RILL_FIELD(b, q)[32 + (i - 160) % 16];
      digit = (i - 160) / 16;
    } else {
      byte = RILL_FIELD(b, q_last)[(i - 240) % 4];
      digit = (i - 240) / 4;
    }
    const int fraction = (byte * kPower[digit]) & 255;
    out.codes[j] = static_cast<uint8_t>(fraction * 3 >> 8);
  }
}
RILL_EXTRACT(TQ2_0) {
  const uint8_t* b = row + unit / 8 * int64_t{sizeof(Block)};
  out.s = Read<uint16_t>(RILL_FIELD(b, scale));
  TwoBits(RILL_FIELD(b, q), static_cast<int>(unit % 8), out.codes);
}
#undef RILL_FIELD

// Bits 4j .. 4j + 3 of `high`, one a byte, in bit j of the bytes: the 1-bit plane.
uint32_t BitPlane(uint32_t high) {
  uint32_t line = 0;
  for (int j = 0; j < 8; ++j) {
    const uint32_t four = high >> (4 * j) & 15;
    line |= (four * 0x00204081u & 0x01010101u) << j;
  }
  return line;
}

// Scatters the 8 quads of one row into the bit planes of its unit. `lane` points at the row's 4
// bytes in line 0.
template <ExecFormat F>
void WriteCodes(const uint8_t* codes, uint8_t* lane) {
  uint32_t q[8];
  std::memcpy(q, codes, sizeof q);
  const auto put = [lane](int line, uint32_t value) { std::memcpy(lane + 64 * line, &value, 4); };
  if constexpr (F.bits == 8) {
    for (int i = 0; i < 8; ++i) put(i, q[i]);
  } else if constexpr (F.bits == 4) {
    for (int i = 0; i < 4; ++i) put(i, (q[2 * i] & kLow4) | (q[2 * i + 1] & kLow4) << 4);
  } else {
    static_assert(F.bits == 2 || F.bits == 3);
    for (int i = 0; i < 2; ++i) {
      uint32_t line = 0;
      for (int j = 0; j < 4; ++j) line |= (q[4 * i + j] & 0x03030303u) << (2 * j);
      put(i, line);
    }
    if constexpr (F.bits == 3) {
      uint32_t line = 0;
      for (int j = 0; j < 8; ++j) line |= ((q[j] >> 2) & 0x01010101u) << j;
      put(2, line);
    }
  }
}
// The same from what Extract gave.
template <ExecFormat F>
void WriteUnit(const RowUnit& unit, uint8_t* lane) {
  if constexpr (F.bits < 4 || F.bits == 8) {
    WriteCodes<F>(unit.codes, lane);
  } else {
    for (int i = 0; i < 4; ++i) std::memcpy(lane + 64 * i, &unit.low[i], 4);
    if constexpr (F.bits == 5) {
      const uint32_t line = BitPlane(unit.high);
      std::memcpy(lane + 256, &line, 4);
    }
    if constexpr (F.bits == 6) {
      for (int i = 0; i < 2; ++i) std::memcpy(lane + 256 + 64 * i, &unit.pairs[i], 4);
    }
  }
}

void Put16(uint8_t* p, int lane, uint16_t value) {
  std::memcpy(p + 2 * lane, &value, 2);
}

template <DType kDType>
void PackBlocks(const uint8_t* const rows[kPanelRows], int64_t k, uint8_t* out) {
  constexpr ExecFormat F = FormatOf(ExecOf(kDType));
  for (int64_t u = 0; u < k / kUnit; ++u) {
    uint8_t* super = nullptr;
    if (F.header_bytes() > 0 && u % kUnitsPerSuper == 0) {
      super = out;
      out += F.header_bytes();
    }
    for (int r = 0; r < kPanelRows; ++r) {
      if (rows[r] == nullptr) continue;
      RowUnit unit;
      Extract<kDType>::Run(rows[r], u, unit);
      WriteUnit<F>(unit, out + F.scale_bytes() + 4 * r);
      if constexpr (F.scale == ScaleKind::kF16 || F.scale == ScaleKind::kF16Min) {
        Put16(out, r, unit.s);
        if constexpr (F.has_min()) Put16(out + 32, r, unit.m);
      } else if constexpr (F.scale == ScaleKind::kE8M0) {
        out[r] = unit.group_s[0];
      } else if constexpr (F.scale == ScaleKind::kSuperS8 || F.scale == ScaleKind::kSuperU8Min) {
        for (int g = 0; g < F.groups(); ++g) {
          uint8_t* p = out + g * F.group_scale_bytes();
          p[r] = unit.group_s[g];
          if constexpr (F.has_min()) p[16 + r] = unit.group_m[g];
        }
      }
      if (super != nullptr) {
        if constexpr (F.scale == ScaleKind::kSuperF32) {
          std::memcpy(super + 4 * r, &unit.s32, 4);
        } else {
          Put16(super, r, unit.s);
          if constexpr (F.has_min()) Put16(super + 32, r, unit.m);
        }
      }
    }
    out += F.unit_bytes();
  }
}

template <ExecId kExec>
void PackWide(const WideRow (&rows)[kPanelRows], int64_t k, int64_t group_units, uint8_t* out) {
  constexpr ExecFormat F = FormatOf(kExec);
  for (int64_t u = 0; u < k / kUnit; ++u) {
    const bool header = u % group_units == 0;
    for (int r = 0; r < kPanelRows; ++r) {
      const WideRow& row = rows[r];
      if (row.codes == nullptr) continue;
      if (header) {
        const float s = row.scales[u / group_units];
        if constexpr (F.scale == ScaleKind::kF32) {
          std::memcpy(out + 4 * r, &s, 4);
        } else {
          Put16(out, r, F32ToF16(s));
          if constexpr (F.scale == ScaleKind::kF16Zero) out[32 + r] = row.zeros[u / group_units];
        }
      }
      WriteCodes<F>(row.codes + u * kUnit, out + (header ? F.header_bytes() : 0) + 4 * r);
    }
    out += (header ? F.header_bytes() : 0) + F.unit_bytes();
  }
}

// Plain elements: a 16 x k transpose, eight bytes of a row at a time. All bits of kExponent set is
// NaN or Inf, and adding the lowest of them then carries into the sign's place: on eight bytes at
// once this costs nothing that can be measured, in a pass of its own a third of the whole load.
template <typename T, T kExponent>
bool PackPlain(const uint8_t* const rows[kPanelRows], int64_t k, uint8_t* out) {
  constexpr int kBits = 8 * sizeof(T), kAtOnce = 64 / kBits;
  constexpr uint64_t kOnes = ~uint64_t{0} / ((uint64_t{1} << kBits) - 1);  // 1 in each element
  constexpr uint64_t kLowest = kOnes * static_cast<T>(kExponent & (~kExponent + 1));
  uint64_t carries = 0;
  const auto move = [&](int r, int64_t first, uint64_t bits, int count) {
    carries |= (bits & kOnes * kExponent) + kLowest;
    for (int i = 0; i < count; ++i, bits >>= kBits) {
      const T element = static_cast<T>(bits);
      std::memcpy(out + ((first + i) * kPanelRows + r) * int64_t{sizeof(T)}, &element, sizeof(T));
    }
  };
  for (int64_t k0 = 0; k0 < k; k0 += 64) {
    const int64_t k1 = k0 + 64 < k ? k0 + 64 : k;
    for (int r = 0; r < kPanelRows; ++r) {
      if (rows[r] == nullptr) continue;
      int64_t i = k0;
      for (; i + kAtOnce <= k1; i += kAtOnce) {
        move(r, i, Read<uint64_t>(rows[r] + i * int64_t{sizeof(T)}), kAtOnce);
      }
      for (; i < k1; ++i) move(r, i, Read<T>(rows[r] + i * int64_t{sizeof(T)}), 1);
    }
  }
  return (carries & kOnes << (kBits - 1)) == 0;
}

// The numbers of blocks, before they are packed: this also brings the rows into the cache.
bool AllFinite(DType dtype, const uint8_t* const rows[kPanelRows], int64_t k) {
  for (int r = 0; r < kPanelRows; ++r) {
    if (rows[r] != nullptr && quant::FindNonFinite(dtype, rows[r], k).bad > 0) return false;
  }
  return true;
}

// f8 -> f16 is exact for both f8 formats.
template <float (*kDecode)(uint8_t)>
void PackF8(const uint8_t* const rows[kPanelRows], int64_t k, uint8_t* out) {
  for (int r = 0; r < kPanelRows; ++r) {
    if (rows[r] == nullptr) continue;
    for (int64_t i = 0; i < k; ++i) {
      Put16(out + i * kPanelRows * 2, r, F32ToF16(kDecode(rows[r][i])));
    }
  }
}

}  // namespace

DType PanelDType(DType dtype) {
  return dtype == DType::kF8E4M3 || dtype == DType::kF8E5M2 ? DType::kF16 : dtype;
}

bool CanPack(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
    case DType::kF8E4M3:
    case DType::kF8E5M2: return true;
    default: return ExecOf(dtype) != ExecId::kNone;
  }
}

int64_t PanelBytes(ExecId exec, int64_t k, int64_t group_units) {
  return FormatOf(exec).UnitOffset(k / kUnit, group_units);
}
int64_t PanelBytes(DType dtype, int64_t k) {
  const ExecId exec = ExecOf(dtype);
  if (exec == ExecId::kNone) return k * kPanelRows * Traits(PanelDType(dtype)).block_bytes;
  return PanelBytes(exec, k, 1);
}

bool PackWidePanel(ExecId exec, const WideRow (&rows)[kPanelRows], int64_t k, int64_t group_units,
                   uint8_t* out) {
  switch (exec) {
    case ExecId::kW4Zero: PackWide<ExecId::kW4Zero>(rows, k, group_units, out); break;
    case ExecId::kW2Zero: PackWide<ExecId::kW2Zero>(rows, k, group_units, out); break;
    case ExecId::kW3Zero: PackWide<ExecId::kW3Zero>(rows, k, group_units, out); break;
    case ExecId::kW8Zero: PackWide<ExecId::kW8Zero>(rows, k, group_units, out); break;
    case ExecId::kW4: PackWide<ExecId::kW4>(rows, k, group_units, out); break;
    case ExecId::kW8: PackWide<ExecId::kW8>(rows, k, group_units, out); break;
    default: break;
  }
  const int64_t groups = k / (group_units * kUnit);
  bool finite = true;
  for (const WideRow& row : rows) {
    for (int64_t g = 0; row.codes != nullptr && g < groups; ++g) {
      finite &= std::isfinite(row.scales[g]);
    }
  }
  return finite;
}

bool PackPanel(DType dtype, const uint8_t* const rows[kPanelRows], int64_t k, uint8_t* out) {
  switch (dtype) {
    case DType::kF32: return PackPlain<uint32_t, 0x7F800000>(rows, k, out);
    case DType::kF16: return PackPlain<uint16_t, 0x7C00>(rows, k, out);
    case DType::kBF16: return PackPlain<uint16_t, 0x7F80>(rows, k, out);
    default: break;
  }
  const bool finite = AllFinite(dtype, rows, k);
  switch (dtype) {
    case DType::kF8E4M3: PackF8<F8E4M3ToF32>(rows, k, out); break;
    case DType::kF8E5M2: PackF8<F8E5M2ToF32>(rows, k, out); break;
#define DTYPE(Name, name, weights, bytes, gguf)
#define DTYPE_BLOCK(Name, name, weights, bytes, gguf) \
  case DType::k##Name: PackBlocks<DType::k##Name>(rows, k, out); break;
#include "tensor/dtype_list.def"
#undef DTYPE
#undef DTYPE_BLOCK
    default: break;
  }
  return finite;
}

}  // namespace rill::cpu
