// f32 matrix products: acc[t] = fma(w[k], x[t, k], acc[t]) in ascending k. Quantised weights are
// decoded exactly as quant/ decodes them (one rounding a weight at most): in registers for one
// token, else to an f32 panel that many tokens share.

// acc[t] = fma(w, x[t], acc[t])
template <int T>
RILL_INLINE void FmaTokens(V16 w, const float* x, V16* acc) {
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) acc[t] = Fma(w, Set(x[t]), acc[t]);
}

// Codes that need not be moved to the low bits of a lane before the conversion: c 2^n converts as
// exactly as c, and s 2^-n is exact for scales of at least 2^-80, so the product is the same.
template <ExecFormat F>
inline constexpr bool kNibblesInPlace =
    F.bits == 4 && F.code == CodeKind::kUnsigned && F.offset == 0 && F.has_min();
template <ExecFormat F>
inline constexpr bool kBytesInPlace = F.code == CodeKind::kSigned && F.scale == ScaleKind::kF16;

template <ExecFormat F, int q, int j, int T>
RILL_INLINE void FmaByte(B64 codes, const Scales& w, const float* x, V16* acc) {
  V16 weight;
  if constexpr (kBytesInPlace<F>) {
    weight = Mul(w.s, ToFloat(ByteTop<j>(codes)));
  } else {
    weight = WeightsOf<F, j>(codes, w);
  }
  FmaTokens<T>(weight, x + (q % 2 * 4 + j) * T, acc);
}
template <ExecFormat F, int q, int T>
RILL_INLINE void FmaQuad(const uint8_t* codes, B64 zero, const Scales& w, const float* x,
                         V16* acc) {
  const B64 c = BiasedQuad<F, 0, q>(codes, zero);
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

// 4-bit codes looked up as floats, where 16 of them fit a register: half the work of the
// conversion.
template <ExecFormat F>
inline constexpr bool kLookedUp = kHasLookup16 && F.bits == 4 && !F.has_zero();
template <ExecFormat F>
struct CodeFloats {
  alignas(64) float value[16];
};
template <ExecFormat F>
constexpr CodeFloats<F> MakeCodeFloats() {
  CodeFloats<F> t{};
  for (int i = 0; i < 16; ++i) {
    const int code = F.code == CodeKind::kIq4     ? quant::kIq4Values[i]
                     : F.code == CodeKind::kMxfp4 ? kMxfp4Codes[i]
                                                  : i;
    t.value[i] = static_cast<float>(code - F.offset);
  }
  return t;
}
template <ExecFormat F>
inline constexpr CodeFloats<F> kCodeFloats = MakeCodeFloats<F>();
template <ExecFormat F, int k, int T>
RILL_INLINE void FmaLookup(const uint8_t* line, const Scales& w, const float* x, V16* acc) {
  // Low nibbles come to the low bits of their lanes by where they are loaded from: the loads have
  // ports to spare, the shifts have not (12.7 -> 14.1 GB/s of Q4_1 from L2).
  const V16 table = Load(kCodeFloats<F>.value);
  const V16 c =
      k < 4 ? Lookup16<0>(table, LoadB(line + k % 4)) : Lookup16<k % 4 * 8 + 4>(table, LoadB(line));
  FmaTokens<T>(F.has_min() ? Fma(w.s, c, w.m) : Mul(w.s, c), x + k * T, acc);
  if constexpr (k < 7) FmaLookup<F, k + 1, T>(line, w, x, acc);
}

// k = 8 i .. 8 i + 7 of a unit of one panel; x and acc are those of these k.
template <ExecFormat F, int i, int T>
RILL_INLINE void FmaLine(const uint8_t* codes, B64 zero, const Scales& w, const float* x,
                         V16* acc) {
  if constexpr (kLookedUp<F>) {
    FmaLookup<F, 0, T>(codes + 64 * i, w, x, acc);
  } else if constexpr (kNibblesInPlace<F>) {
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
    FmaQuad<F, 2 * i, T>(codes, zero, w, x, acc);
    FmaQuad<F, 2 * i + 1, T>(codes, zero, w, x, acc);
  }
}

// All panels, P at a time. The last ones are joined by panels that are done twice: a kernel for
// fewer would take the compiler as long again.
template <int P>
RILL_INLINE int64_t PanelGroup(const uint8_t* panels, int64_t panel_bytes, int64_t num_panels,
                               int64_t p, const uint8_t** group) {
  const int64_t first = num_panels >= P && p + P > num_panels ? num_panels - P : p;
#pragma GCC unroll 4
  for (int i = 0; i < P; ++i) {
    group[i] = panels + (first + i < num_panels ? first + i : num_panels - 1) * panel_bytes;
  }
  return first;
}
#ifndef RILL_GEMV_PANELS
#define RILL_GEMV_PANELS kGemvPanels
#endif
// P panels times one token, decoded in registers. The panels take turns every 8 k, which hides the
// latency of the chain of additions that each output is.
template <ExecFormat F, int P>
struct GemvPanels {
  const uint8_t* at[P];
  Header header[P];
  Scales w[P];
  V16 acc[P][1];

  RILL_INLINE void LoadGroup(int g) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      w[p] = LoadScales<F>(at[p], g, header[p].w);
      if constexpr (kBytesInPlace<F>) w[p].s = Mul(w[p].s, Set(0x1p-24f));
    }
  }
  template <int i>
  RILL_INLINE void Line(const float* x) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      FmaLine<F, i, 1>(at[p] + F.scale_bytes(), header[p].zero, w[p], x + 8 * i, acc[p]);
    }
  }
  RILL_INLINE void Run(const uint8_t* const* panels, int64_t panel_bytes, int64_t k,
                       int64_t group_units, const float* x, float* out) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      at[p] = panels[p];
      header[p] = {{Set(0.0f), Set(0.0f)}, AsBytes(SetI(0))};
      acc[p][0] = Set(0.0f);
    }
    const int64_t step = F.header_units(group_units);
    int64_t left = 0;
    for (int64_t u = 0; u < k / kUnit; ++u, x += kUnit) {
      if constexpr (F.header_bytes() > 0) {
        if (left == 0) {
#pragma GCC unroll 4
          for (int p = 0; p < P; ++p) {
            header[p] = LoadHeader<F>(at[p]);
            at[p] += F.header_bytes();
          }
          left = step;
        }
        --left;
      }
      const int64_t ahead = PrefetchAhead<F, P>(k / kUnit - u, panel_bytes);
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) PrefetchUnit<F>(at[p], ahead);
      LoadGroup(0);
      Line<0>(x);
      Line<1>(x);
      if constexpr (F.group == 16) LoadGroup(1);
      Line<2>(x);
      Line<3>(x);
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) at[p] += F.unit_bytes();
    }
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) Store(out + p * 16, acc[p][0]);
  }
};
template <ExecFormat F>
void Gemv(const uint8_t* panels, int64_t panel_bytes, int64_t num_panels, int64_t k,
          int64_t group_units, const float* x, float* out) {
  constexpr int P = RILL_GEMV_PANELS;
  const uint8_t* group[P];
  alignas(64) float few[P * 16];
  for (int64_t p = 0; p < num_panels; p += P) {
    const int64_t first = PanelGroup<P>(panels, panel_bytes, num_panels, p, group);
    GemvPanels<F, P> kernel;
    kernel.Run(group, panel_bytes, k, group_units, x, num_panels < P ? few : out + first * 16);
  }
  if (num_panels < P) {
    __builtin_memcpy(out, few, static_cast<size_t>(num_panels * 16) * sizeof(float));
  }
}

// 16 elements of a panel.
struct F16Elements {
  static RILL_INLINE V16 At(const uint16_t* p) { return LoadF16(p); }
};
struct Bf16Elements {
  static RILL_INLINE V16 At(const uint16_t* p) { return LoadBf16(p); }
};
// P panels of f16 or bf16 times one token, widened in registers: by way of f32 panels each weight
// of 2 bytes costs 4 written and 4 read again (2048 x 2048 from DRAM: 15 against 33 GB/s on
// AVX-512). f32 panels need no such kernel: GemmF32 reads them at the limit.
template <typename Elements, int P>
RILL_INLINE void GemvPlainPanels(const uint8_t* const* panels, int64_t panel_bytes, int64_t k,
                                 const float* x, float* out) {
  constexpr int kStep = 8;  // k at a time
  constexpr int64_t kStepBytes = kStep * 16 * 2;
  V16 acc[P];
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) acc[p] = Set(0.0f);
  int64_t i = 0;
  for (; i + kStep <= k; i += kStep) {
    const int64_t at = i * 16 * 2;
    // In this panel, else at the beginning of the one that comes P later.
    const int64_t ahead =
        at + kPrefetchBytes + (at + kPrefetchBytes < panel_bytes ? 0 : (P - 1) * panel_bytes);
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      const auto* w = reinterpret_cast<const uint16_t*>(panels[p] + at);
#pragma GCC unroll 8
      for (int64_t line = 0; line < kStepBytes; line += 64) Prefetch(panels[p] + ahead + line);
#pragma GCC unroll 8
      for (int j = 0; j < kStep; ++j) {
        acc[p] = Fma(Elements::At(w + 16 * j), Set(x[i + j]), acc[p]);
      }
    }
  }
  for (; i < k; ++i) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      const auto* w = reinterpret_cast<const uint16_t*>(panels[p]);
      acc[p] = Fma(Elements::At(w + 16 * i), Set(x[i]), acc[p]);
    }
  }
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) Store(out + p * 16, acc[p]);
}
template <typename Elements>
void GemvPlain(const uint8_t* panels, int64_t panel_bytes, int64_t num_panels, int64_t k, int64_t,
               const float* x, float* out) {
  constexpr int P = kGemvPanels;
  const uint8_t* group[P];
  alignas(64) float few[P * 16];
  for (int64_t p = 0; p < num_panels; p += P) {
    const int64_t first = PanelGroup<P>(panels, panel_bytes, num_panels, p, group);
    GemvPlainPanels<Elements, P>(group, panel_bytes, k, x, num_panels < P ? few : out + first * 16);
  }
  if (num_panels < P) {
    __builtin_memcpy(out, few, static_cast<size_t>(num_panels * 16) * sizeof(float));
  }
}

// P panels (f32 [k][16], `stride` floats apart) times T tokens, k interleaved [k][T].
template <int P, int T>
void GemmF32Panels(const float* panels, int64_t stride, int64_t k, const float* x, float* out) {
  V16 acc[P][T];
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) acc[p][t] = Set(0.0f);
  }
  for (int64_t i = 0; i < k; ++i) {
    V16 w[P];
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) w[p] = Load(panels + p * stride + 16 * i);
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) {
      const V16 v = Set(x[i * T + t]);
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) acc[p][t] = Fma(w[p], v, acc[p][t]);
    }
  }
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) Store(out + (p * T + t) * 16, acc[p][t]);
  }
}
// One token has one chain of additions an output: four panels hide the latency of the fma.
template <int T>
void GemmF32Width(const float* panels, int64_t stride, int64_t num_panels, int64_t k,
                  const float* x, float* out) {
  constexpr int P = T == 1 ? 4 : kTileF32Panels;
  int64_t p = 0;
  for (; p + P <= num_panels; p += P) {
    GemmF32Panels<P, T>(panels + p * stride, stride, k, x, out + p * T * 16);
  }
  if constexpr (P > 1) {
    for (; p < num_panels; ++p) {
      GemmF32Panels<1, T>(panels + p * stride, stride, k, x, out + p * T * 16);
    }
  }
}
// width: 1, or a third, two thirds or all of `tile`.
template <int tile>
RILL_INLINE void GemmF32Tile(const float* panels, int64_t stride, int64_t num_panels, int64_t k,
                             const float* x, int width, float* out) {
  if constexpr (tile > 1) {
    constexpr int step = tile / 3;
    if (width == step) return GemmF32Width<step>(panels, stride, num_panels, k, x, out);
    if (width == 2 * step) return GemmF32Width<2 * step>(panels, stride, num_panels, k, x, out);
    if (width == 3 * step) return GemmF32Width<3 * step>(panels, stride, num_panels, k, x, out);
  }
  GemmF32Width<1>(panels, stride, num_panels, k, x, out);
}
void GemmF32(const float* panels, int64_t stride, int64_t num_panels, int64_t k, const float* x,
             int width, float* out) {
  GemmF32Tile<kTileF32>(panels, stride, num_panels, k, x, width, out);
}
