// Matrix products on panels (exec_format.h): 16 output rows sit in the vector lanes, k runs in time.
//
// f32: acc[t] = fma(w[k], x[t, k], acc[t]) in ascending k. Quantised weights are first decoded to an
//   f32 panel (DecodePanel), exactly as quant/ decodes them: one rounding a weight at most.
//
// q8: per group g of the weight (16 or 32 k), ascending, with integer codes c, activation codes a:
//     I   = sum (c - offset) a         exact: sum c a - offset * sum a, int32
//     acc = fma(float(I), s * d, acc)              s: weight scale, d: activation scale
//     acc = fma(m, d * float(sum a), acc)          formats with a minimum: w = s c + m
//   K-quants: s = d_super * sc and m = -(dmin_super * mn), both exact in f32. On AVX2 vpmaddubsw
//   products are added in 16 bits while they fit: 15 * 127 * 2 * 8 = 30480 for 4-bit codes, 4 quads
//   at 5 bits, 2 at 6 bits; 8-bit signed codes are widened each time.
//
// Activations: per 32 k, from m = max|x| (as integers, so NaN wins over Inf over numbers):
//     d = m / 127, code = round_to_even(clamp(x * (127 / m), -127, 127));
//     m < 2^-100 counts as 0 (d = 0, codes 0); m Inf or NaN: d = m, codes 0, so the row becomes NaN.
//
// One (panel, tile) call: 16 * width * k multiply-adds over k * bits * 2 bytes of weights.

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

// Codes that need signed arithmetic.
template <ExecFormat F>
inline constexpr bool kSignedCodes = F.code == CodeKind::kSigned || F.code == CodeKind::kIq4;

// Quads whose 16-bit sums cannot overflow.
template <ExecFormat F>
inline constexpr int kDotQuads = kDotAccIsInt32 ? 8
                                 : F.code == CodeKind::kMxfp4 ? 4
                                 : F.bits <= 4                ? 8
                                 : F.bits == 5                ? 4
                                                              : 2;

struct Scales {
  V16 s, m;
};

// Super header of the 256 k that begin here.
template <ExecFormat F>
RILL_INLINE Scales LoadSuper(const uint8_t* p) {
  const auto* half = reinterpret_cast<const uint16_t*>(p);
  Scales r{Set(0.0f), Set(0.0f)};
  if constexpr (F.scale == ScaleKind::kSuperF32) {
    r.s = Load(reinterpret_cast<const float*>(p));
  } else if constexpr (F.super_bytes() > 0) {
    r.s = LoadF16(half);
    if constexpr (F.has_min()) r.m = Sub(Set(-0.0f), LoadF16(half + 16));
  }
  return r;
}

// Scale and minimum of group `g` of the unit at p.
template <ExecFormat F>
RILL_INLINE Scales LoadScales(const uint8_t* p, int g, const Scales& super) {
  p += g * F.group_scale_bytes();
  const auto* half = reinterpret_cast<const uint16_t*>(p);
  Scales r = super;
  if constexpr (F.scale == ScaleKind::kF16 || F.scale == ScaleKind::kF16Min) {
    r.s = LoadF16(half);
    if constexpr (F.has_min()) r.m = LoadF16(half + 16);
  } else if constexpr (F.scale == ScaleKind::kE8M0) {
    const I32 e = LoadU8(p);  // 2^(e - 128); e = 0 and 1 are subnormal
    const V16 normal = FromBits(ShlI<23>(SubI(e, SetI(1))));
    const V16 subnormal = FromBits(AddI(ShlI<21>(e), SetI(0x00200000)));
    r.s = Select(LtI(e, SetI(2)), subnormal, normal);
  } else if constexpr (F.scale == ScaleKind::kSuperS8) {
    r.s = Mul(super.s, ToFloat(LoadS8(p)));
  } else if constexpr (F.scale == ScaleKind::kSuperU8Min) {
    r.s = Mul(super.s, ToFloat(LoadU8(p)));
    r.m = Mul(super.m, ToFloat(LoadU8(p + 16)));
  }
  return r;
}

template <ExecFormat F, int q, int T>
RILL_INLINE void DotQuadU(const uint8_t* codes, const int8_t* x, DotAcc* acc) {
  const B64 w = CodeQuad<F, q>(codes);
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) acc[t] = DotU(acc[t], w, x + (q * T + t) * 4);
}
template <ExecFormat F, int q, int T>
RILL_INLINE void DotQuadS(const uint8_t* codes, const int8_t* x, I32* acc) {
  const B64 w = CodeQuad<F, q>(codes);
  const B64 w_abs = AbsB(w);
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) acc[t] = DotS(acc[t], w_abs, w, x + (q * T + t) * 4);
}

// dots[t] = sum over quads [q, q + n) of codes * x.
template <ExecFormat F, int q, int n, int T>
RILL_INLINE void DotQuads(const uint8_t* codes, const int8_t* x, I32* dots) {
  if constexpr (kSignedCodes<F>) {
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) dots[t] = SetI(0);
    DotQuadS<F, q, T>(codes, x, dots);
    DotQuadS<F, q + 1, T>(codes, x, dots);
    DotQuadS<F, q + 2, T>(codes, x, dots);
    DotQuadS<F, q + 3, T>(codes, x, dots);
    if constexpr (n == 8) {
      DotQuadS<F, q + 4, T>(codes, x, dots);
      DotQuadS<F, q + 5, T>(codes, x, dots);
      DotQuadS<F, q + 6, T>(codes, x, dots);
      DotQuadS<F, q + 7, T>(codes, x, dots);
    }
  } else if constexpr (n > kDotQuads<F>) {
    DotQuads<F, q, n / 2, T>(codes, x, dots);
    I32 more[T];
    DotQuads<F, q + n / 2, n / 2, T>(codes, x, more);
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) dots[t] = AddI(dots[t], more[t]);
  } else {
    DotAcc acc[T];
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) acc[t] = ZeroDot();
    DotQuadU<F, q, T>(codes, x, acc);
    DotQuadU<F, q + 1, T>(codes, x, acc);
    if constexpr (n >= 4) {
      DotQuadU<F, q + 2, T>(codes, x, acc);
      DotQuadU<F, q + 3, T>(codes, x, acc);
    }
    if constexpr (n == 8) {
      DotQuadU<F, q + 4, T>(codes, x, acc);
      DotQuadU<F, q + 5, T>(codes, x, acc);
      DotQuadU<F, q + 6, T>(codes, x, acc);
      DotQuadU<F, q + 7, T>(codes, x, acc);
    }
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) dots[t] = FinishDot(acc[t]);
  }
}

template <ExecFormat F, int g, int T>
RILL_INLINE void GroupQ8(const uint8_t* unit, const Scales& super, const QuantTile& x, int64_t u,
                         float* out) {
  constexpr int n = F.group / 4;
  I32 dots[T];
  DotQuads<F, g * n, n, T>(unit + F.scale_bytes(), x.codes + u * kUnit * T, dots);
  const Scales w = LoadScales<F>(unit, g, super);
  const float* d = x.scale + u * T;
  const int32_t* sums = x.sums + (3 * u + (F.group == 32 ? 2 : g)) * T;
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) {
    I32 dot = dots[t];
    if constexpr (F.offset != 0) dot = SubI(dot, SetI(F.offset * sums[t]));
    V16 acc = Fma(ToFloat(dot), Mul(w.s, Set(d[t])), Load(out + 16 * t));
    if constexpr (F.has_min()) {
      const float sum =
          F.group == 32 ? x.scaled_sum[u * T + t] : d[t] * static_cast<float>(sums[t]);
      acc = Fma(w.m, Set(sum), acc);
    }
    Store(out + 16 * t, acc);
  }
}

template <ExecFormat F, int T>
void GemmQ8Width(const uint8_t* panel, int64_t k, const QuantTile& tile, float* out) {
  const QuantTile x = tile;
  for (int i = 0; i < T; ++i) Store(out + 16 * i, Set(0.0f));
  const int64_t units = k / kUnit;
  Scales super{Set(0.0f), Set(0.0f)};
  const uint8_t* p = panel;
  for (int64_t u = 0; u < units; ++u) {
    if constexpr (F.super_bytes() > 0) {
      if (u % kUnitsPerSuper == 0) {
        super = LoadSuper<F>(p);
        p += F.super_bytes();
      }
    }
    GroupQ8<F, 0, T>(p, super, x, u, out);
    if constexpr (F.group == 16) GroupQ8<F, 1, T>(p, super, x, u, out);
    p += F.unit_bytes();
  }
}

// Calls CALL(T) with T = width, 1 … kTile (1 on scalar: wider tiles gain nothing there, and take the
// compiler minutes).
#define RILL_WIDTHS(width, CALL)                               \
  if constexpr (kTile == 1) {                                  \
    CALL(1);                                                   \
  } else {                                                     \
    switch (width) {                                           \
      case 1: CALL(1); break;                                  \
      case 2: CALL((kTile < 2 ? 1 : 2)); break;                \
      case 3: CALL((kTile < 3 ? 1 : 3)); break;                \
      case 4: CALL((kTile < 4 ? 1 : 4)); break;                \
      case 5: CALL((kTile < 5 ? 1 : 5)); break;                \
      default: CALL((kTile < 6 ? 1 : 6)); break;               \
    }                                                          \
  }

template <ExecFormat F>
void GemmQ8(const uint8_t* panel, int64_t k, const QuantTile& x, int width, float* out) {
#define RILL_CALL(T) GemmQ8Width<F, T>(panel, k, x, out)
  RILL_WIDTHS(width, RILL_CALL)
#undef RILL_CALL
}

template <ExecFormat F, int q, int j>
RILL_INLINE void DecodeByte(B64 codes, const Scales& w, float* out) {
  I32 c = kSignedCodes<F> ? ByteS<j>(codes) : ByteU<j>(codes);
  if constexpr (F.offset != 0) c = SubI(c, SetI(F.offset));
  const V16 f = ToFloat(c);
  Store(out + (4 * q + j) * 16, F.has_min() ? Fma(w.s, f, w.m) : Mul(w.s, f));
}
template <ExecFormat F, int q>
RILL_INLINE void DecodeQuad(const uint8_t* codes, const Scales& w, float* out) {
  const B64 c = CodeQuad<F, q>(codes);
  DecodeByte<F, q, 0>(c, w, out);
  DecodeByte<F, q, 1>(c, w, out);
  DecodeByte<F, q, 2>(c, w, out);
  DecodeByte<F, q, 3>(c, w, out);
}

// Panel -> f32 [k][16].
template <ExecFormat F>
void DecodePanel(const uint8_t* panel, int64_t k, float* out) {
  const int64_t units = k / kUnit;
  Scales super{Set(0.0f), Set(0.0f)};
  const uint8_t* p = panel;
  for (int64_t u = 0; u < units; ++u, out += kUnit * 16) {
    if constexpr (F.super_bytes() > 0) {
      if (u % kUnitsPerSuper == 0) {
        super = LoadSuper<F>(p);
        p += F.super_bytes();
      }
    }
    const uint8_t* codes = p + F.scale_bytes();
    Scales w = LoadScales<F>(p, 0, super);
    DecodeQuad<F, 0>(codes, w, out);
    DecodeQuad<F, 1>(codes, w, out);
    DecodeQuad<F, 2>(codes, w, out);
    DecodeQuad<F, 3>(codes, w, out);
    if constexpr (F.group == 16) w = LoadScales<F>(p, 1, super);
    DecodeQuad<F, 4>(codes, w, out);
    DecodeQuad<F, 5>(codes, w, out);
    DecodeQuad<F, 6>(codes, w, out);
    DecodeQuad<F, 7>(codes, w, out);
    p += F.unit_bytes();
  }
}
// acc[t] = fma(w, x[t], acc[t])
template <int T>
RILL_INLINE void FmaTokens(V16 w, const float* x, V16* acc) {
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) acc[t] = Fma(w, Set(x[t]), acc[t]);
}

// Codes that need not be moved to the low bits of a lane before the conversion: c 2^n converts as
// exactly as c, and s 2^-n is exact for scales of at least 2^-80, so the product is the same.
template <ExecFormat F>
inline constexpr bool kNibblesInPlace = F.bits == 4 && F.code == CodeKind::kUnsigned &&
                                        F.offset == 0 && F.has_min();
template <ExecFormat F>
inline constexpr bool kBytesInPlace = F.code == CodeKind::kSigned && F.scale == ScaleKind::kF16;

template <ExecFormat F, int q, int j, int T>
RILL_INLINE void FmaByte(B64 codes, const Scales& w, const float* x, V16* acc) {
  V16 weight;
  if constexpr (kBytesInPlace<F>) {
    weight = Mul(w.s, ToFloat(ByteTop<j>(codes)));
  } else {
    I32 c = kSignedCodes<F> ? ByteS<j>(codes) : ByteU<j>(codes);
    if constexpr (F.offset != 0) c = SubI(c, SetI(F.offset));
    weight = F.has_min() ? Fma(w.s, ToFloat(c), w.m) : Mul(w.s, ToFloat(c));
  }
  FmaTokens<T>(weight, x + (q % 2 * 4 + j) * T, acc);
}
template <ExecFormat F, int q, int T>
RILL_INLINE void FmaQuad(const uint8_t* codes, const Scales& w, const float* x, V16* acc) {
  const B64 c = CodeQuad<F, q>(codes);
  FmaByte<F, q, 0, T>(c, w, x, acc);
  FmaByte<F, q, 1, T>(c, w, x, acc);
  FmaByte<F, q, 2, T>(c, w, x, acc);
  FmaByte<F, q, 3, T>(c, w, x, acc);
}
template <ExecFormat F, int q, int j, int T>
RILL_INLINE void FmaNibble(B64 line, const Scales& w, V16 high_s, const float* x, V16* acc) {
  const I32 byte = ByteU<j>(line);
  const V16 weight = q == 0 ? Fma(w.s, ToFloat(AndI(byte, SetI(0x0F))), w.m)
                            : Fma(high_s, ToFloat(AndI(byte, SetI(0xF0))), w.m);
  FmaTokens<T>(weight, x + (q * 4 + j) * T, acc);
}

// k = 8 i .. 8 i + 7 of a unit of one panel; x and acc are those of these k.
template <ExecFormat F, int i, int T>
RILL_INLINE void FmaLine(const uint8_t* codes, const Scales& w, const float* x, V16* acc) {
  if constexpr (kNibblesInPlace<F>) {
    const B64 line = LoadB(codes + 64 * i);
    const V16 high_s = Mul(w.s, Set(0x1p-4f));
    FmaNibble<F, 0, 0, T>(line, w, high_s, x, acc);
    FmaNibble<F, 0, 1, T>(line, w, high_s, x, acc);
    FmaNibble<F, 0, 2, T>(line, w, high_s, x, acc);
    FmaNibble<F, 0, 3, T>(line, w, high_s, x, acc);
    FmaNibble<F, 1, 0, T>(line, w, high_s, x, acc);
    FmaNibble<F, 1, 1, T>(line, w, high_s, x, acc);
    FmaNibble<F, 1, 2, T>(line, w, high_s, x, acc);
    FmaNibble<F, 1, 3, T>(line, w, high_s, x, acc);
  } else {
    FmaQuad<F, 2 * i, T>(codes, w, x, acc);
    FmaQuad<F, 2 * i + 1, T>(codes, w, x, acc);
  }
}

// P panels times T tokens, decoded in registers. The panels take turns every 8 k, which hides the
// latency of the chain of additions that each output is.
template <ExecFormat F, int T, int P>
void GemvPanels(const uint8_t* panels, int64_t panel_bytes, int64_t k, const float* x, float* out) {
  V16 acc[P][T];
  Scales super[P], w[P];
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) {
    super[p] = {Set(0.0f), Set(0.0f)};
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) acc[p][t] = Set(0.0f);
  }
  const int64_t units = k / kUnit;
  const uint8_t* unit = panels;
  for (int64_t u = 0; u < units; ++u, unit += F.unit_bytes(), x += kUnit * T) {
    if constexpr (F.super_bytes() > 0) {
      if (u % kUnitsPerSuper == 0) {
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) super[p] = LoadSuper<F>(unit + p * panel_bytes);
        unit += F.super_bytes();
      }
    }
    const auto scales = [&](int g) __attribute__((always_inline)) {
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        w[p] = LoadScales<F>(unit + p * panel_bytes, g, super[p]);
        if constexpr (kBytesInPlace<F>) w[p].s = Mul(w[p].s, Set(0x1p-24f));
      }
    };
    const uint8_t* codes = unit + F.scale_bytes();
    scales(0);
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) FmaLine<F, 0, T>(codes + p * panel_bytes, w[p], x, acc[p]);
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) FmaLine<F, 1, T>(codes + p * panel_bytes, w[p], x + 8 * T, acc[p]);
    if constexpr (F.group == 16) scales(1);
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) FmaLine<F, 2, T>(codes + p * panel_bytes, w[p], x + 16 * T, acc[p]);
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) FmaLine<F, 3, T>(codes + p * panel_bytes, w[p], x + 24 * T, acc[p]);
  }
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) Store(out + (p * T + t) * 16, acc[p][t]);
  }
}

template <ExecFormat F, int T>
void GemvWidth(const uint8_t* panels, int64_t panel_bytes, int64_t num_panels, int64_t k,
               const float* x, float* out) {
  constexpr int P = T == 1 ? kGemvPanels : T == 2 ? 2 : 1;
  int64_t p = 0;
  for (; p + P <= num_panels; p += P) {
    GemvPanels<F, T, P>(panels + p * panel_bytes, panel_bytes, k, x, out + p * T * 16);
  }
  if constexpr (P > 1) {
    for (; p < num_panels; ++p) {
      GemvPanels<F, T, 1>(panels + p * panel_bytes, panel_bytes, k, x, out + p * T * 16);
    }
  }
}
template <ExecFormat F>
void Gemv(const uint8_t* panels, int64_t panel_bytes, int64_t num_panels, int64_t k, const float* x,
          int width, float* out) {
  switch (width) {
    case 1: return GemvWidth<F, 1>(panels, panel_bytes, num_panels, k, x, out);
    case 2: return GemvWidth<F, 2>(panels, panel_bytes, num_panels, k, x, out);
    default: return GemvWidth<F, 3>(panels, panel_bytes, num_panels, k, x, out);
  }
}
// Scalar code has no registers to decode into: it keeps the path over a decoded panel.
template <ExecFormat F, int tile>
constexpr GemvFn GemvOf() {
  if constexpr (tile == 1) {
    return nullptr;
  } else {
    return Gemv<F>;
  }
}

void DecodeF16(const uint8_t* panel, int64_t k, float* out) {
  const auto* p = reinterpret_cast<const uint16_t*>(panel);
  for (int64_t i = 0; i < k; ++i) Store(out + 16 * i, LoadF16(p + 16 * i));
}
void DecodeBf16(const uint8_t* panel, int64_t k, float* out) {
  const auto* p = reinterpret_cast<const uint16_t*>(panel);
  for (int64_t i = 0; i < k; ++i) Store(out + 16 * i, LoadBf16(p + 16 * i));
}

template <int T>
void GemmF32Width(const float* panel, int64_t k, const float* x, float* out) {
  V16 acc[T];
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) acc[t] = Set(0.0f);
  for (int64_t i = 0; i < k; ++i) {
    const V16 w = Load(panel + 16 * i);
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) acc[t] = Fma(w, Set(x[i * T + t]), acc[t]);
  }
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) Store(out + 16 * t, acc[t]);
}
void GemmF32(const float* panel, int64_t k, const float* x, int width, float* out) {
#define RILL_CALL(T) GemmF32Width<T>(panel, k, x, out)
  RILL_WIDTHS(width, RILL_CALL)
#undef RILL_CALL
}
// One token has one chain of additions an output: four panels hide the latency of the fma.
void Gemv4F32(const float* panels, int64_t panel_stride, int64_t k, const float* x, float* out) {
  V16 acc[4];
#pragma GCC unroll 4
  for (int p = 0; p < 4; ++p) acc[p] = Set(0.0f);
  for (int64_t i = 0; i < k; ++i) {
    const V16 v = Set(x[i]);
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p) acc[p] = Fma(Load(panels + p * panel_stride + 16 * i), v, acc[p]);
  }
#pragma GCC unroll 4
  for (int p = 0; p < 4; ++p) Store(out + 16 * p, acc[p]);
}

void PackF32(const float* const* rows, int width, int64_t k, float* out) {
  for (int t = 0; t < width; ++t) {
    const float* row = rows[t];
    for (int64_t i = 0; i < k; ++i) out[i * width + t] = row[i];
  }
}

void Quantize(const float* const* rows, int width, int64_t k, const QuantTile& out) {
  const int64_t units = k / kUnit;
  for (int t = 0; t < width; ++t) {
    for (int64_t u = 0; u < units; ++u) {
      const V16 a = Load(rows[t] + u * kUnit);
      const V16 b = Load(rows[t] + u * kUnit + 16);
      const float largest = __builtin_bit_cast(float, ReduceMaxI(MaxI(Bits(Abs(a)), Bits(Abs(b)))));
      float d = 0.0f, inverse = 0.0f;
      if (!(largest <= 0x1.fffffep127f)) {
        d = largest;
      } else if (largest >= 0x1p-100f) {
        d = largest / 127.0f;
        inverse = 127.0f / largest;
      }
      const V16 factor = Set(inverse), top = Set(127.0f), bottom = Set(-127.0f);
      I32 qa = SetI(0), qb = SetI(0);
      if (inverse > 0.0f) {
        qa = ToInt(Round(Min(Max(Mul(a, factor), bottom), top)));
        qb = ToInt(Round(Min(Max(Mul(b, factor), bottom), top)));
      }
      alignas(32) int8_t codes[kUnit];
      StoreS8(codes, qa);
      StoreS8(codes + 16, qb);
      for (int64_t q = 0; q < 8; ++q) {
        __builtin_memcpy(out.codes + ((u * 8 + q) * width + t) * 4, codes + 4 * q, 4);
      }
      const int32_t sum_a = ReduceAddI(qa), sum_b = ReduceAddI(qb);
      out.scale[u * width + t] = d;
      out.scaled_sum[u * width + t] = d * static_cast<float>(sum_a + sum_b);
      int32_t* sums = out.sums + 3 * u * width + t;
      sums[0] = sum_a;
      sums[width] = sum_b;
      sums[2 * width] = sum_a + sum_b;
    }
  }
}

// Bias, scale and residual of one tile: y[t] = fma(scale, acc + bias, residual), each optional
// (scale == 1: plain sums, which are the same numbers). n <= 16 rows are stored.
void FinishTile(const float* acc, int width, int n, const float* bias, float scale,
                const float* residual, int64_t residual_stride, float* y, int64_t y_stride) {
  for (int t = 0; t < width; ++t) {
    V16 v = Load(acc + 16 * t);
    if (bias != nullptr) v = Add(v, n == 16 ? Load(bias) : LoadN(bias, n));
    if (residual != nullptr) {
      const float* r = residual + t * residual_stride;
      v = Fma(Set(scale), v, n == 16 ? Load(r) : LoadN(r, n));
    } else if (scale != 1.0f) {
      v = Mul(Set(scale), v);
    }
    if (n == 16) {
      Store(y + t * y_stride, v);
    } else {
      StoreN(y + t * y_stride, v, n);
    }
  }
}

template <ops::ActivationKind kind>
void FinishGluOf(const float* gate, const float* up, int width, int n, const float* gate_bias,
                 const float* up_bias, float* y, int64_t y_stride) {
  for (int t = 0; t < width; ++t) {
    V16 g = Load(gate + 16 * t), u = Load(up + 16 * t);
    if (gate_bias != nullptr) {
      g = Add(g, LoadN(gate_bias, n));
      u = Add(u, LoadN(up_bias, n));
    }
    const V16 v = Mul(Activate(kind, g), u);
    if (n == 16) {
      Store(y + t * y_stride, v);
    } else {
      StoreN(y + t * y_stride, v, n);
    }
  }
}
void FinishGlu(ops::ActivationKind kind, const float* gate, const float* up, int width, int n,
               const float* gate_bias, const float* up_bias, float* y, int64_t y_stride) {
#define RILL_CALL(k) FinishGluOf<k>(gate, up, width, n, gate_bias, up_bias, y, y_stride)
  RILL_EACH_KIND(RILL_CALL)
#undef RILL_CALL
}
