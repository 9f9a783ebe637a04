// f32 matrix products: acc[t] = fma(w[k], x[t, k], acc[t]) in ascending k. Quantised weights are
// decoded exactly as quant/ decodes them (one rounding a weight at most): in registers for each
// tile (few tiles, and any number where that wins), else to an f32 panel that all tiles share.

// Codes that need not be moved to the low bits of a lane before the conversion: c 2^n converts as
// exactly as c, and s 2^-n is exact for scales of at least 2^-80, so the product is the same.
template <ExecFormat F>
inline constexpr bool kNibblesInPlace =
    F.bits == 4 && F.code == CodeKind::kUnsigned && F.offset == 0 && F.has_min();
template <ExecFormat F>
inline constexpr bool kBytesInPlace = F.code == CodeKind::kSigned && F.scale == ScaleKind::kF16;

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

// The 16 weights of one k, the j-th of the 8 of line i of a unit: a line of 64 bytes has those of 4
// bits, two quads those of any format. What several k share the compiler computes once.
template <ExecFormat F, int i, int j>
RILL_INLINE V16 WeightsAt(const uint8_t* codes, B64 zero, const Scales& w) {
  if constexpr (kLookedUp<F>) {
    // Low nibbles come to the low bits of their lanes by where they are loaded from: the loads have
    // ports to spare, the shifts have not (12.7 -> 14.1 GB/s of Q4_1 from L2).
    const uint8_t* line = codes + 64 * i;
    const V16 table = Load(kCodeFloats<F>.value);
    const V16 c = j < 4 ? Lookup16<0>(table, LoadB(line + j % 4))
                        : Lookup16<j % 4 * 8 + 4>(table, LoadB(line));
    return F.has_min() ? Fma(w.s, c, w.m) : Mul(w.s, c);
  } else if constexpr (kNibblesInPlace<F>) {
    const I32 byte = ByteU<j % 4>(LoadB(codes + 64 * i));
    return j < 4 ? Fma(w.s, ToFloat(AndI(byte, SetI(0x0F))), w.m)
                 : Fma(Mul(w.s, Set(0x1p-4f)), ToFloat(AndI(byte, SetI(0xF0))), w.m);
  } else {
    const B64 quad = BiasedQuad<F, 0, 2 * i + j / 4>(codes, zero);
    if constexpr (kBytesInPlace<F>) return Mul(w.s, ToFloat(ByteTop<j % 4>(quad)));
    return WeightsOf<F, j % 4>(quad, w);
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
// acc[p][t] = fma(w[p], x[t], acc[p][t])
template <int P, int T>
RILL_INLINE void FmaTile(const V16* w, const float* x, V16 (*acc)[T]) {
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) {
    const V16 v = Set(x[t]);
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) acc[p][t] = Fma(w[p], v, acc[p][t]);
  }
}
// P panels times a tile of T tokens, decoded in registers. That panels take turns hides the latency
// of the chain of additions that each output is.
template <ExecFormat F, int P, int T>
struct FewPanels {
  const uint8_t* at[P];
  Header header[P];
  Scales w[P];
  V16 acc[P][T];

  RILL_INLINE void LoadGroup(int g) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      w[p] = LoadScales<F>(at[p], g, header[p].w);
      if constexpr (kBytesInPlace<F>) w[p].s = Mul(w[p].s, Set(0x1p-24f));
    }
  }
  // k = 8 i + j .. 8 i + 7 of a unit, N panels from `first` on taking turns.
  template <int N, int i, int j = 0>
  RILL_INLINE void Turns(int first, const float* x) {
    V16 weights[N];
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      const int p = first + n;
      weights[n] = WeightsAt<F, i, j>(at[p] + F.scale_bytes(), header[p].zero, w[p]);
    }
    FmaTile<N, T>(weights, x + (8 * i + j) * T, acc + first);
    if constexpr (j < 7) Turns<N, i, j + 1>(first, x);
  }
  // Tokens share what is broadcast if panels take turns at each k; if they took turns at every 8 k,
  // as for one token, broadcasts would be kept and spilled (q4_0, AVX-512, 8 tokens: 69 against 91
  // GMAC/s). One token at each k would be slower instead (q4_k, AVX2: 21 against 30).
  template <int i>
  RILL_INLINE void Line(const float* x) {
    if constexpr (T > 1) {
      Turns<P, i>(0, x);
    } else {
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) Turns<1, i>(p, x);
    }
  }
  RILL_INLINE void Run(const uint8_t* const* panels, int64_t panel_bytes, int64_t k,
                       int64_t group_units, const float* x, float* out) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      at[p] = panels[p];
      header[p] = {{Set(0.0f), Set(0.0f)}, AsBytes(SetI(0))};
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t) acc[p][t] = Set(0.0f);
    }
    const int64_t step = F.header_units(group_units);
    int64_t left = 0;
    for (int64_t u = 0; u < k / kUnit; ++u, x += kUnit * T) {
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
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t) Store(out + (p * T + t) * 16, acc[p][t]);
    }
  }
};
// fn(panels, out) for P panels at a time.
template <int P, int T, typename Fn>
RILL_INLINE void ForPanelGroups(const uint8_t* panels, int64_t panel_bytes, int64_t num_panels,
                                float* out, Fn&& fn) {
  const uint8_t* group[P];
  alignas(64) float few[P * T * 16];
  for (int64_t p = 0; p < num_panels; p += P) {
    const int64_t first = PanelGroup<P>(panels, panel_bytes, num_panels, p, group);
    fn(group, num_panels < P ? few : out + first * T * 16);
  }
  if (num_panels < P) {
    __builtin_memcpy(out, few, static_cast<size_t>(num_panels * T * 16) * sizeof(float));
  }
}
// Panels at once: for some eight chains of additions, which cover the latency of two fma a cycle,
// or as many as GemmF32 takes. (A product of fewer panels than that computes some twice.)
template <int T>
constexpr int FewPanelsAtOnce() {
  constexpr int wanted = 8 / kV16Registers / T;
  constexpr int panels = wanted < 4 ? wanted : 4;
  return panels > kTileF32Panels ? panels : kTileF32Panels;
}
template <int T>
inline constexpr int kFewPanels = T == 1 ? kOneTokenPanels : FewPanelsAtOnce<T>();
// Widest tile. Minima need two registers more than a tile of six leaves with AVX2 (q4_1, six
// tokens: 0.81 of the rate by way of f32 panels).
template <ExecFormat F>
inline constexpr int kFewTile =
    F.has_min() && kV16Registers == 2 ? kTileF32 / 3 * 2 : kFewPlainTile;
// Tiles for which codes are decoded again and again rather than once, to f32 panels (Zen 4,
// AVX-512, q4_0: 16 tokens in two tiles 1.04 times as fast, 36 in three 0.97; AVX2, 12 tokens 1.07,
// 18 0.97). Where fewer than three tiles find room in L2 beside f32 panels, any number of tokens
// (AVX-512 and 1 MiB, 256 tokens, 2,048 rows: k of 4,096 1.06, 5,632 1.12; of 3,072 it were 0.96).
inline constexpr int kFewTiles = 2;
// fn<T>() for T = width: 1 to 3, or by steps of a third of kTileF32 up to `most`.
template <int most, typename Fn>
RILL_INLINE void WithFewWidth(int width, Fn&& fn) {
  constexpr int step = kTileF32 / 3;
  if (width == 1) return fn.template operator()<1>();
  if constexpr (step != 2) {
    if (width == 2) return fn.template operator()<2>();
  }
  if (width == 3) return fn.template operator()<3>();
  if constexpr (most >= 3 * step) {
    if (width == 3 * step) return fn.template operator()<3 * step>();
  }
  if constexpr (most >= 2 * step) {
    if (width == 2 * step) return fn.template operator()<2 * step>();
  }
  if (width == step) return fn.template operator()<step>();
  __builtin_trap();  // products of any other width would be those of other tokens
}
template <ExecFormat F>
void Few(const uint8_t* panels, int64_t panel_bytes, int64_t num_panels, int64_t k,
         int64_t group_units, const float* x, int width, float* out) {
  WithFewWidth<kFewTile<F>>(width, [=]<int T>() {
    constexpr int P = kFewPanels<T>;
    ForPanelGroups<P, T>(panels, panel_bytes, num_panels, out,
                         [=](const uint8_t* const* group, float* to) {
                           FewPanels<F, P, T> kernel;
                           kernel.Run(group, panel_bytes, k, group_units, x, to);
                         });
  });
}

// 16 elements of a panel.
struct F16Elements {
  static RILL_INLINE V16 At(const uint16_t* p) { return LoadF16(p); }
};
struct Bf16Elements {
  static RILL_INLINE V16 At(const uint16_t* p) { return LoadBf16(p); }
};
// P panels of f16 or bf16 times a tile of T tokens, widened in registers: by way of f32 panels each
// weight of 2 bytes costs 4 written and 4 read again (2048 x 2048 from DRAM, one token: 15 against
// 33 GB/s on AVX-512). f32 panels need no such kernel: GemmF32 reads them at the limit.
template <typename Elements, int P, int T>
RILL_INLINE void FewPlainPanels(const uint8_t* const* panels, int64_t panel_bytes, int64_t k,
                                const float* x, float* out) {
  constexpr int kStep = 8;  // k at a time
  constexpr int64_t kStepBytes = kStep * 16 * 2;
  V16 acc[P][T];
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) acc[p][t] = Set(0.0f);
  }
  const auto FmaAt = [&](int64_t at) {
    V16 w[P];
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      w[p] = Elements::At(reinterpret_cast<const uint16_t*>(panels[p]) + 16 * at);
    }
    FmaTile<P, T>(w, x + at * T, acc);
  };
  int64_t i = 0;
  for (; i + kStep <= k; i += kStep) {
    const int64_t at = i * 16 * 2;
    // In this panel, else at the beginning of the one that comes P later.
    const int64_t ahead =
        at + kPrefetchBytes + (at + kPrefetchBytes < panel_bytes ? 0 : (P - 1) * panel_bytes);
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 8
      for (int64_t line = 0; line < kStepBytes; line += 64) Prefetch(panels[p] + ahead + line);
    }
#pragma GCC unroll 8
    for (int j = 0; j < kStep; ++j) FmaAt(i + j);
  }
  for (; i < k; ++i) FmaAt(i);
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) Store(out + (p * T + t) * 16, acc[p][t]);
  }
}
template <typename Elements>
void FewPlain(const uint8_t* panels, int64_t panel_bytes, int64_t num_panels, int64_t k, int64_t,
              const float* x, int width, float* out) {
  WithFewWidth<kFewPlainTile>(width, [=]<int T>() {
    constexpr int P = T == 1 ? 4 : kFewPanels<T>;  // widening leaves registers for four on Arm, too
    ForPanelGroups<P, T>(panels, panel_bytes, num_panels, out,
                         [=](const uint8_t* const* group, float* to) {
                           FewPlainPanels<Elements, P, T>(group, panel_bytes, k, x, to);
                         });
  });
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
