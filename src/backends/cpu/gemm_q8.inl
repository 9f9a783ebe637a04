// Integer matrix products: 16 output rows of a panel sit in the vector lanes, k runs in time.
//
// Per group g of the weight (16, 32 or more k), ascending, with codes c and activation codes a:
//     I   = sum (c - offset) a         exact: sum c a - offset * sum a, int32
//     acc = fma(float(I), s * d, acc)              s: weight scale, d: activation scale
//     acc = fma(m, d * float(sum a), acc)          formats with a minimum: w = s c + m
//   K-quants: s = d_super * sc and m = -(dmin_super * mn), both exact in f32.
// Zero points are offsets of their own for each row. Those of 8-bit codes (c - z fits no byte) come
// in as f32: I = fma(-(z - base), sum a, sum (c - base) a), base 0 or 128 as the instruction likes.
// All three are integers below 2^24 for groups of up to 512 (255 * 127 * 512), so this is exact.
// Where the instruction adds pairs in 16 bits (vpmaddubsw), products are added there while they
// fit: 15 * 127 * 2 * 8 = 30480 for 4-bit codes, 4 quads at 5 bits, 2 at 6; 8-bit codes are signed
// there and widened each time. Where each place is added by itself (smlal) twice as many fit.
//
// Two kernels. GemvQ8 reads packed units and takes them apart in registers, for a few tokens: it is
// bound by the memory that the weights come from. GemmWork reads panels in work form (codes.inl),
// expanded once for many tiles of tokens: offset folded into the start value of the dot product,
// activations broadcast from memory, the tile's sums in registers from group to group.
//
// Activations, per group, from m = max|x| (as integers, so NaN wins over Inf over numbers):
//     d = m / 127, code = round_to_even(x * (127 / m))           |code| <= 127
//     m < 2^-100 counts as 0 (d = 0, codes 0); m Inf or NaN: d = m, codes 0, so the row becomes
//     NaN.

// Quads whose 16-bit sums cannot overflow.
constexpr int DotQuads(DotShape d) {
  if (kIntegerDot == IntegerDot::kSingles) return d.bits <= 5 ? 8 : 4;
  if (kIntegerDot != IntegerDot::kPairs) return 8;
  return d.bits <= 4 ? 8 : d.bits == 5 ? 4 : 2;
}

// Sources of code bytes: packed units or the work form.
template <ExecFormat F>
struct PackedQuads {
  const uint8_t* codes;
  B64 zero;
  template <int q>
  RILL_INLINE B64 Quad() const {
    if constexpr (F.has_zero()) {
      // 4 bits: c - z + 16 in [1, 31]; 2 and 3: c - z + 8 in [1, 15].
      return BiasedQuad<F, DirectOf(F).offset, q>(codes, zero);
    } else if constexpr (F.zero_in_sum()) {
      return BiasedQuad<F, kSumBase, q>(codes, zero);
    } else if constexpr (kSignedCodes<F> && DirectOf(F).offset == 128) {
      return BiasedQuad<F, 128, q>(codes, zero);
    } else {
      return CodeQuad<F, q>(codes);
    }
  }
};
struct WorkQuads {
  const uint8_t* codes;
  template <int q>
  RILL_INLINE B64 Quad() const {
    return LoadB(codes + 64 * q);
  }
};

template <int T, int q, typename Source>
RILL_INLINE void AddQuadU(const Source& w, const int8_t* x, DotAcc* acc) {
  const B64 v = w.template Quad<q>();
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) acc[t] = DotU(acc[t], v, x + (q * T + t) * 4);
}
template <int T, int q, typename Source>
RILL_INLINE void AddQuadS(const Source& w, const int8_t* x, I32* acc) {
  const B64 v = w.template Quad<q>();
  const B64 v_abs = AbsB(v);
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) acc[t] = DotS(acc[t], v_abs, v, x + (q * T + t) * 4);
}

// dots[t] += sum over quads [q, q + n) of codes * x; x is the tile's unit.
template <DotShape D, int T, int q, int n, typename Source>
RILL_INLINE void AddQuads(const Source& w, const int8_t* x, I32* dots) {
  if constexpr (D.is_signed) {
    AddQuadS<T, q>(w, x, dots);
    if constexpr (n > 1) AddQuads<D, T, q + 1, n - 1>(w, x, dots);
  } else if constexpr (n > DotQuads(D)) {
    AddQuads<D, T, q, n / 2>(w, x, dots);
    AddQuads<D, T, q + n / 2, n / 2>(w, x, dots);
  } else {
    DotAcc acc[T];
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) acc[t] = StartDot(dots[t]);
    AddQuadU<T, q>(w, x, acc);
    AddQuadU<T, q + 1>(w, x, acc);
    if constexpr (n >= 4) {
      AddQuadU<T, q + 2>(w, x, acc);
      AddQuadU<T, q + 3>(w, x, acc);
    }
    if constexpr (n == 8) {
      AddQuadU<T, q + 4>(w, x, acc);
      AddQuadU<T, q + 5>(w, x, acc);
      AddQuadU<T, q + 6>(w, x, acc);
      AddQuadU<T, q + 7>(w, x, acc);
    }
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) dots[t] = FinishDot(dots[t], acc[t]);
  }
}

// -offset * sum a, where the dot product starts.
template <DotShape D, int T>
RILL_INLINE void StartDots(const int32_t* neg_sum, I32* dots) {
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) {
    if constexpr (D.offset == 0) {
      dots[t] = SetI(0);
    } else if constexpr ((D.offset & (D.offset - 1)) == 0) {
      dots[t] = ShlI<__builtin_ctz(D.offset)>(SetI(neg_sum[t]));
    } else {
      dots[t] = SetI(D.offset * neg_sum[t]);
    }
  }
}

// A group's integers as f32. zero_in_sum: sum (c - base) a - (z - base) sum a.
template <DotShape D>
RILL_INLINE V16 GroupFloat(I32 dots, const Scales& w, int32_t neg_sum) {
  if constexpr (!D.zero_in_sum) return ToFloat(dots);
  return Fma(w.m, ToFloat(SetI(neg_sum)), ToFloat(dots));
}
template <DotShape D, int T>
RILL_INLINE void AddGroup(const I32* dots, const Scales& w, const float* d, const float* sum,
                          const int32_t* neg_sum, V16* acc) {
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) {
    acc[t] = Fma(GroupFloat<D>(dots[t], w, neg_sum[t]), Mul(w.s, Set(d[t])), acc[t]);
    if constexpr (D.has_min) acc[t] = Fma(w.m, Set(sum[t]), acc[t]);
  }
}

// P panels times T tokens from packed units. `at[p]` walks panel p.
template <ExecFormat F, int T, int P>
void GemvQ8Panels(const uint8_t* const* panels, int64_t panel_bytes, int64_t k, int64_t group_units,
                  const QuantTile& tile, float* out) {
  constexpr DotShape D = DirectOf(F);
  const QuantTile x = tile;
  V16 acc[P][T];
  const uint8_t* at[P];
  Header header[P];
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) {
    at[p] = panels[p];
    header[p] = {{Set(0.0f), Set(0.0f)}, AsBytes(SetI(0))};
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) acc[p][t] = Set(0.0f);
  }
  const int64_t units = k / kUnit;
  const int64_t step = F.header_units(group_units);
  if constexpr (F.wide()) {
    int64_t group = 0;
    for (int64_t u = 0; u < units; u += step, ++group) {
      const int64_t n = u + step < units ? step : units - u;
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        I32 dots[T];
        header[p] = LoadHeader<F>(at[p]);
        at[p] += F.header_bytes();
        StartDots<D, T>(x.neg_sum + group * T, dots);
        for (int64_t i = 0; i < n; ++i) {
          PrefetchUnit<F>(at[p], PrefetchAhead<F, P>(units - u - i, panel_bytes));
          AddQuads<D, T, 0, 8>(PackedQuads<F>{at[p], header[p].zero}, x.codes + (u + i) * kUnit * T,
                               dots);
          at[p] += F.unit_bytes();
        }
        AddGroup<D, T>(dots, header[p].w, x.scale + group * T, x.scaled_sum + group * T,
                       x.neg_sum + group * T, acc[p]);
      }
    }
  } else {
    int64_t left = 0;
    for (int64_t u = 0; u < units; ++u) {
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
      const int8_t* codes_x = x.codes + u * kUnit * T;
      const int64_t ahead = PrefetchAhead<F, P>(units - u, panel_bytes);
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        const uint8_t* unit = at[p];
        PrefetchUnit<F>(unit, ahead);
        const PackedQuads<F> source{unit + F.scale_bytes(), header[p].zero};
        I32 dots[T];
        if constexpr (F.group == 32) {
          StartDots<D, T>(x.neg_sum + u * T, dots);
          AddQuads<D, T, 0, 8>(source, codes_x, dots);
          AddGroup<D, T>(dots, LoadScales<F>(unit, 0, header[p].w), x.scale + u * T,
                         x.scaled_sum + u * T, x.neg_sum + u * T, acc[p]);
        } else {
          StartDots<D, T>(x.neg_sum16 + 2 * u * T, dots);
          AddQuads<D, T, 0, 4>(source, codes_x, dots);
          AddGroup<D, T>(dots, LoadScales<F>(unit, 0, header[p].w), x.scale + u * T,
                         x.scaled_sum16 + 2 * u * T, x.neg_sum16 + 2 * u * T, acc[p]);
          StartDots<D, T>(x.neg_sum16 + (2 * u + 1) * T, dots);
          AddQuads<D, T, 4, 4>(source, codes_x, dots);
          AddGroup<D, T>(dots, LoadScales<F>(unit, 1, header[p].w), x.scale + u * T,
                         x.scaled_sum16 + (2 * u + 1) * T, x.neg_sum16 + (2 * u + 1) * T, acc[p]);
        }
        at[p] += F.unit_bytes();
      }
    }
  }
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) Store(out + (p * T + t) * 16, acc[p][t]);
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
template <ExecFormat F, int T>
void GemvQ8Width(const uint8_t* panels, int64_t panel_bytes, int64_t num_panels, int64_t k,
                 int64_t group_units, const QuantTile& x, float* out) {
  constexpr int P = T == 1 ? kGemvQ8Panels : (kGemvQ8Panels + 1) / 2;
  const uint8_t* group[P];
  alignas(64) float few[P * T * 16];
  for (int64_t p = 0; p < num_panels; p += P) {
    const int64_t first = PanelGroup<P>(panels, panel_bytes, num_panels, p, group);
    GemvQ8Panels<F, T, P>(group, panel_bytes, k, group_units, x,
                          num_panels < P ? few : out + first * T * 16);
  }
  if (num_panels < P) {
    __builtin_memcpy(out, few, static_cast<size_t>(num_panels * T * 16) * sizeof(float));
  }
}
// width: 1, or kGemvQ8Width.
template <ExecFormat F>
void GemvQ8(const uint8_t* panels, int64_t panel_bytes, int64_t num_panels, int64_t k,
            int64_t group_units, const QuantTile& x, int width, float* out) {
  if constexpr (kGemvQ8Width > 1) {
    if (width > 1) {
      return GemvQ8Width<F, kGemvQ8Width>(panels, panel_bytes, num_panels, k, group_units, x, out);
    }
  }
  GemvQ8Width<F, 1>(panels, panel_bytes, num_panels, k, group_units, x, out);
}

// Units [unit0, unit1) of panels in work form times T tokens.
template <DotShape D, int T>
void GemmWorkWidth(const WorkGemm& args) {
  const WorkGemm g = args;
  const QuantTile x = g.x;
  for (int p = 0; p < g.num_panels; ++p) {
    const uint8_t* codes = g.panels + p * g.panel_stride;
    const auto* s = reinterpret_cast<const float*>(codes + g.k * kPanelRows);
    const float* m = s + g.num_groups * kPanelRows;
    float* out = g.out + p * g.out_stride;
    V16 acc[T];
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) acc[t] = g.unit0 == 0 ? Set(0.0f) : Load(out + 16 * t);
    if constexpr (D.group == 16) {
      for (int64_t u = g.unit0; u < g.unit1; ++u) {
        const WorkQuads source{codes + u * kUnit * kPanelRows};
        const int8_t* codes_x = x.codes + u * kUnit * T;
        I32 dots[T];
        StartDots<D, T>(x.neg_sum16 + 2 * u * T, dots);
        AddQuads<D, T, 0, 4>(source, codes_x, dots);
        Scales w{Load(s + 2 * u * kPanelRows), Set(0.0f)};
        if constexpr (D.has_min) w.m = Load(m + 2 * u * kPanelRows);
        AddGroup<D, T>(dots, w, x.scale + u * T, x.scaled_sum16 + 2 * u * T,
                       x.neg_sum16 + 2 * u * T, acc);
        StartDots<D, T>(x.neg_sum16 + (2 * u + 1) * T, dots);
        AddQuads<D, T, 4, 4>(source, codes_x, dots);
        w.s = Load(s + (2 * u + 1) * kPanelRows);
        if constexpr (D.has_min) w.m = Load(m + (2 * u + 1) * kPanelRows);
        AddGroup<D, T>(dots, w, x.scale + u * T, x.scaled_sum16 + (2 * u + 1) * T,
                       x.neg_sum16 + (2 * u + 1) * T, acc);
      }
    } else {
      int64_t group = g.unit0 / g.group_units;
      for (int64_t u = g.unit0; u < g.unit1; ++group) {
        const int64_t end = u + g.group_units < g.unit1 ? u + g.group_units : g.unit1;
        I32 dots[T];
        StartDots<D, T>(x.neg_sum + group * T, dots);
        do {
          AddQuads<D, T, 0, 8>(WorkQuads{codes + u * kUnit * kPanelRows}, x.codes + u * kUnit * T,
                               dots);
        } while (++u < end);
        Scales w{Load(s + group * kPanelRows), Set(0.0f)};
        if constexpr (D.has_m()) w.m = Load(m + group * kPanelRows);
        AddGroup<D, T>(dots, w, x.scale + group * T, x.scaled_sum + group * T,
                       x.neg_sum + group * T, acc);
      }
    }
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) Store(out + 16 * t, acc[t]);
  }
}
#if !RILL_AMX && !RILL_I8MM
template <DotShape D>
void GemmWork(const WorkGemm& g) {
  constexpr int step = kTileQ8 / kTileSteps;
  switch ((g.width + step - 1) / step) {
    case 1: return GemmWorkWidth<D, step>(g);
    case 2: return GemmWorkWidth<D, 2 * step>(g);
    default: return GemmWorkWidth<D, kTileQ8>(g);
  }
}
template <DotShape D>
constexpr GemmWorkFn GemmWorkOf() {
  return GemmWork<D>;
}
#endif
