// The codes and scales of packed units (exec_format.h) in registers; panels decoded to f32, and to
// the work form that the integer kernels for many tokens read.

template <ExecFormat F, int q>
RILL_INLINE B64 CodeQuad(const uint8_t* codes) {
  if constexpr (F.bits == 8) {
    return LoadB(codes + 64 * q);
  } else if constexpr (F.bits >= 4) {
    const B64 line = LoadB(codes + 64 * (q / 2));
    B64 low;
    if constexpr (q % 2 == 0) {
      low = AndB(line, 15);
    } else {
      low = ShrAndB<4>(line, 15);
    }
    if constexpr (F.code == CodeKind::kIq4) {
      return LookupB(reinterpret_cast<const uint8_t*>(quant::kIq4Values), low);
    } else if constexpr (F.code == CodeKind::kMxfp4) {
      return LookupB(kMxfp4Codes, low);
    } else if constexpr (F.bits == 5) {
      const B64 plane = LoadB(codes + 256);
      if constexpr (q <= 4) {
        return OrB(low, ShlAndB<4 - q>(plane, 0x10));
      } else {
        return OrB(low, ShrAndB<q - 4>(plane, 0x10));
      }
    } else if constexpr (F.bits == 6) {
      const B64 plane = LoadB(codes + 256 + 64 * (q / 4));
      if constexpr (q % 4 <= 2) {
        return OrB(low, ShlAndB<4 - 2 * (q % 4)>(plane, 0x30));
      } else {
        return OrB(low, ShrAndB<2>(plane, 0x30));
      }
    } else {
      return low;
    }
  } else {
    const B64 low = ShrAndB<2 * (q % 4)>(LoadB(codes + 64 * (q / 4)), 3);
    if constexpr (F.bits == 3) {
      const B64 plane = LoadB(codes + 128);
      if constexpr (q <= 2) {
        return OrB(low, ShlAndB<2 - q>(plane, 4));
      } else {
        return OrB(low, ShrAndB<q - 2>(plane, 4));
      }
    } else {
      return low;
    }
  }
}

// Codes that are signed bytes.
template <ExecFormat F>
inline constexpr bool kSignedCodes = F.code == CodeKind::kSigned || F.code == CodeKind::kIq4;

struct Scales {
  V16 s, m;
};

// What a dot product takes off the codes of zero_in_sum formats, so that they are bytes of the kind
// that the instruction multiplies: unsigned, or signed.
inline constexpr bool kUnsignedBytes =
    kIntegerDot == IntegerDot::kQuad || kIntegerDot == IntegerDot::kTiles;
inline constexpr int kSumBase = kUnsignedBytes ? 0 : 128;

// The header that a run of units shares: scales (and the zero points of a wide group, one byte of
// each row in all 4 of its bytes; or in m, zero_in_sum: less kSumBase).
struct Header {
  Scales w;
  B64 zero;
};

template <ExecFormat F>
RILL_INLINE Header LoadHeader(const uint8_t* p) {
  const auto* half = reinterpret_cast<const uint16_t*>(p);
  Header h{{Set(0.0f), Set(0.0f)}, AsBytes(SetI(0))};
  if constexpr (F.scale == ScaleKind::kSuperF32 || F.scale == ScaleKind::kF32) {
    h.w.s = Load(reinterpret_cast<const float*>(p));
  } else if constexpr (F.header_bytes() > 0) {
    h.w.s = LoadF16(half);
    if constexpr (F.has_min()) h.w.m = Sub(Set(-0.0f), LoadF16(half + 16));
    if constexpr (F.zero_in_sum()) h.w.m = ToFloat(SubI(LoadU8(p + 32), SetI(kSumBase)));
    if constexpr (F.has_zero()) {
      I32 z = LoadU8(p + 32);
      z = OrI(z, ShlI<8>(z));
      h.zero = AsBytes(OrI(z, ShlI<16>(z)));
    }
  }
  return h;
}

// Scale and minimum of group `g` of the unit at p.
template <ExecFormat F>
RILL_INLINE Scales LoadScales(const uint8_t* p, int g, const Scales& header) {
  p += g * F.group_scale_bytes();
  const auto* half = reinterpret_cast<const uint16_t*>(p);
  Scales r = header;
  if constexpr (!F.wide() && (F.scale == ScaleKind::kF16 || F.scale == ScaleKind::kF16Min)) {
    r.s = LoadF16(half);
    if constexpr (F.has_min()) r.m = LoadF16(half + 16);
  } else if constexpr (F.scale == ScaleKind::kE8M0) {
    const I32 e = LoadU8(p);  // 2^(e - 128); e = 0 and 1 are subnormal
    const V16 normal = FromBits(ShlI<23>(SubI(e, SetI(1))));
    const V16 subnormal = FromBits(AddI(ShlI<21>(e), SetI(0x00200000)));
    r.s = Select(LtI(e, SetI(2)), subnormal, normal);
  } else if constexpr (F.scale == ScaleKind::kSuperS8) {
    r.s = Mul(header.s, ToFloat(LoadS8(p)));
  } else if constexpr (F.scale == ScaleKind::kSuperU8Min) {
    r.s = Mul(header.s, ToFloat(LoadU8(p)));
    r.m = Mul(header.m, ToFloat(LoadU8(p + 16)));
  }
  return r;
}

// Walks the units of a panel: points at each unit and has its header at hand.
template <ExecFormat F>
struct UnitWalk {
  const uint8_t* p;
  int64_t step, left;
  Header header;

  RILL_INLINE UnitWalk(const uint8_t* panel, int64_t group_units)
      : p(panel), step(F.header_units(group_units)), left(0) {
    header = {{Set(0.0f), Set(0.0f)}, AsBytes(SetI(0))};
  }
  // Before each unit.
  RILL_INLINE void Enter() {
    if constexpr (F.header_bytes() > 0) {
      if (left == 0) {
        header = LoadHeader<F>(p);
        p += F.header_bytes();
        left = step;
      }
      --left;
    }
  }
  RILL_INLINE const uint8_t* codes() const { return p + F.scale_bytes(); }
  RILL_INLINE Scales scales(int g) const { return LoadScales<F>(p, g, header.w); }
  RILL_INLINE void Next() { p += F.unit_bytes(); }
};

// The unit `ahead` bytes further on.
template <ExecFormat F, int line = 0>
RILL_INLINE void PrefetchUnit(const uint8_t* unit, int64_t ahead) {
  Prefetch(unit + ahead + line);
  if constexpr (line + 64 < F.unit_bytes()) PrefetchUnit<F, line + 64>(unit, ahead);
}
// How far ahead a walk over P panels that take turns asks for each: what is under way is the same
// for any P. (A panel at a time at a quarter of it: 8 tokens of a 1.1B Q4_0 took 1.18 times as
// long, on Zen 5; a half or twice as much: no difference.)
template <int P>
inline constexpr int64_t kAheadOf = kAheadBytes / P;
// Where such a walk will be then: in this panel while `left` units of it remain, else at the
// beginning of the one that comes P later.
template <ExecFormat F, int P>
RILL_INLINE int64_t PrefetchAhead(int64_t left, int64_t panel_bytes) {
  return kAheadOf<P> + (left * F.unit_bytes() > kAheadOf<P> ? 0 : (P - 1) * panel_bytes);
}

// code - offset (or the code of a format with a minimum) as signed or unsigned bytes plus `add`.
template <ExecFormat F, int add, int q>
RILL_INLINE B64 BiasedQuad(const uint8_t* codes, B64 zero) {
  B64 c = CodeQuad<F, q>(codes);
  constexpr uint32_t bias = static_cast<uint32_t>(add - F.offset) & 255u;
  if constexpr (bias != 0) c = AddB(c, AsBytes(SetI(static_cast<int32_t>(bias * 0x01010101u))));
  if constexpr (F.has_zero()) c = SubB(c, zero);
  return c;
}

// The weights of byte j of each lane, given BiasedQuad<F, 0>.
template <ExecFormat F, int j>
RILL_INLINE V16 WeightsOf(B64 codes, const Scales& w) {
  const bool is_signed = F.has_zero() || F.offset != 0 || kSignedCodes<F>;
  const V16 c = ToFloat(is_signed ? ByteS<j>(codes) : ByteU<j>(codes));
  if constexpr (F.has_min()) return Fma(w.s, c, w.m);
  if constexpr (F.zero_in_sum()) return Mul(w.s, Sub(c, Add(w.m, Set(kSumBase))));
  return Mul(w.s, c);
}
template <ExecFormat F, int q, int j>
RILL_INLINE void DecodeByte(B64 codes, const Scales& w, float* out) {
  Store(out + (4 * q + j) * 16, WeightsOf<F, j>(codes, w));
}
template <ExecFormat F, int q>
RILL_INLINE void DecodeQuad(const uint8_t* codes, const Scales& w, B64 zero, float* out) {
  const B64 c = BiasedQuad<F, 0, q>(codes, zero);
  DecodeByte<F, q, 0>(c, w, out);
  DecodeByte<F, q, 1>(c, w, out);
  DecodeByte<F, q, 2>(c, w, out);
  DecodeByte<F, q, 3>(c, w, out);
}

// Panel -> f32 [k][16].
template <ExecFormat F>
void DecodePanel(const uint8_t* panel, int64_t k, int64_t group_units, float* out) {
  UnitWalk<F> walk(panel, group_units);
  for (int64_t u = 0; u < k / kUnit; ++u, out += kUnit * 16) {
    walk.Enter();
    const uint8_t* codes = walk.codes();
    const B64 zero = walk.header.zero;
    Scales w = walk.scales(0);
    DecodeQuad<F, 0>(codes, w, zero, out);
    DecodeQuad<F, 1>(codes, w, zero, out);
    DecodeQuad<F, 2>(codes, w, zero, out);
    DecodeQuad<F, 3>(codes, w, zero, out);
    if constexpr (F.group == 16) w = walk.scales(1);
    DecodeQuad<F, 4>(codes, w, zero, out);
    DecodeQuad<F, 5>(codes, w, zero, out);
    DecodeQuad<F, 6>(codes, w, zero, out);
    DecodeQuad<F, 7>(codes, w, zero, out);
    walk.Next();
  }
}
void DecodeF16(const uint8_t* panel, int64_t k, int64_t, float* out) {
  const auto* p = reinterpret_cast<const uint16_t*>(panel);
  for (int64_t i = 0; i < k; ++i) Store(out + 16 * i, LoadF16(p + 16 * i));
}
void DecodeBf16(const uint8_t* panel, int64_t k, int64_t, float* out) {
  const auto* p = reinterpret_cast<const uint16_t*>(panel);
  for (int64_t i = 0; i < k; ++i) Store(out + 16 * i, LoadBf16(p + 16 * i));
}

// How the dot product of a format runs on this ISA: codes as bytes in [0, 2^bits), of which
// `offset` is to be taken off, or signed bytes. Work forms (WorkOf) have one of few such shapes, so
// that formats share kernels; DirectOf is for kernels that read packed units.
struct DotShape {
  int bits = 8;
  bool is_signed = false;
  int offset = 0;
  bool has_min = false;
  bool zero_in_sum = false;
  int group = 32;
  constexpr bool has_m() const { return has_min || zero_in_sum; }
  constexpr bool operator==(const DotShape&) const = default;
};
// Bits of a code as a dot product reads it; code - zero is made positive by half of their range.
constexpr int CodeBits(ExecFormat f) {
  if (f.has_zero()) return f.bits < 4 ? 4 : 5;
  return f.code == CodeKind::kMxfp4 ? 5 : f.bits < 4 ? 4 : f.bits;
}
constexpr DotShape WorkOf(ExecFormat f) {
  DotShape d;
  d.has_min = f.has_min();
  d.zero_in_sum = f.zero_in_sum();
  d.group = f.group == 16 ? 16 : 32;
  const bool signed_codes = f.code == CodeKind::kSigned || f.code == CodeKind::kIq4;
  if (f.zero_in_sum()) {
    d.is_signed = !kUnsignedBytes;
  } else if (kIntegerDot == IntegerDot::kTiles || IsSignedQuad(kIntegerDot)) {
    d.is_signed = !d.has_min;
  } else if (kIntegerDot == IntegerDot::kQuad) {
    d.offset = d.has_min ? 0 : 128;
  } else if (signed_codes) {
    d.is_signed = true;
  } else {
    d.bits = CodeBits(f);
    d.offset = d.has_min ? 0 : 1 << (d.bits - 1);
  }
  return d;
}
constexpr DotShape DirectOf(ExecFormat f) {
  DotShape d;
  d.has_min = f.has_min();
  d.zero_in_sum = f.zero_in_sum();
  d.group = f.group == 16 ? 16 : 32;
  const bool signed_codes = f.code == CodeKind::kSigned || f.code == CodeKind::kIq4;
  if (f.zero_in_sum()) {
    d.is_signed = !kUnsignedBytes;
  } else if (signed_codes) {
    d.is_signed = !kUnsignedBytes;
    d.offset = d.is_signed ? 0 : 128;
  } else {
    d.bits = CodeBits(f);
    d.offset = f.has_zero() ? 1 << (d.bits - 1) : f.offset;
  }
  return d;
}

// What the bytes of a work form are above code - offset; 128 - 256 = -128.
template <ExecFormat F>
inline constexpr int kWorkBias = F.zero_in_sum() ? kSumBase : WorkOf(F).offset;
template <ExecFormat F, int q>
RILL_INLINE void ExpandQuads(const uint8_t* codes, B64 zero, uint8_t* out) {
  StoreB(out + 64 * q, BiasedQuad<F, kWorkBias<F>, q>(codes, zero));
  if constexpr (q < 7) ExpandQuads<F, q + 1>(codes, zero, out);
}
// Panel -> work form.
template <ExecFormat F>
void Expand(const uint8_t* panel, int64_t k, int64_t group_units, uint8_t* work) {
  auto* s = reinterpret_cast<float*>(work + k * kPanelRows);
  float* m = s + WorkGroups(F, k, group_units) * kPanelRows;
  UnitWalk<F> walk(panel, group_units);
  for (int64_t u = 0; u < k / kUnit; ++u, work += kUnit * kPanelRows) {
    const bool new_group = !F.wide() || walk.left == 0;
    walk.Enter();
    PrefetchUnit<F>(walk.p, kPrefetchBytes);
    ExpandQuads<F, 0>(walk.codes(), walk.header.zero, work);
#if RILL_I8MM
    PairQuads(work);
#endif
    if (new_group) {
      for (int g = 0; g < F.groups(); ++g) {
        const Scales w = walk.scales(g);
        Store(s, w.s);
        s += kPanelRows;
        if constexpr (F.has_m()) {
          Store(m, w.m);
          m += kPanelRows;
        }
      }
    }
    walk.Next();
  }
}
