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
// Two kernels. GemvQ8Panel reads packed units and takes them apart in registers: for a few tokens,
// bound by the memory that the weights come from, and for the first tile of more, which leaves the
// panels' work forms behind (GemmPacked; against expanding first, Zen 5 with VNNI, 2048 x 2048 from
// memory: 8 tokens 136 -> 83 us, 12 163 -> 114, 32 297 -> 264; AVX2: 8 tokens 209 -> 151).
// GemmWork reads panels in work form (codes.inl), for the other tiles: offset folded into the start
// value of the dot product, activations broadcast from memory, the tile's sums in registers from
// group to group. Two panels share each broadcast where there are registers for it (half of the
// tile's tokens at a time): loads bind there, 1.06 times as fast.
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
// Packed units that leave their work form at `work`.
template <ExecFormat F>
struct LeavingQuads {
  const uint8_t* codes;
  B64 zero;
  uint8_t* work;
  template <int q>
  RILL_INLINE B64 Quad() const {
    const B64 v = BiasedQuad<F, kWorkBias<F>, q>(codes, zero);
    StoreB(work + 64 * q, v);
    return v;
  }
};

// long_run: as many quads as 4- and 5-bit codes allow, or more, are added before anything else.
template <int T, int q, int S, bool long_run, typename Source>
RILL_INLINE void AddQuadU(const Source& w, const int8_t* x, DotAcc* acc) {
  const B64 v = w.template Quad<q>();
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) acc[t] = DotU<long_run>(acc[t], v, x + (q * S + t) * 4);
}
template <int T, int q, int n, int S, bool long_run, typename Source>
RILL_INLINE void AddRun(const Source& w, const int8_t* x, DotAcc* acc) {
  AddQuadU<T, q, S, long_run>(w, x, acc);
  if constexpr (n > 1) AddRun<T, q + 1, n - 1, S, long_run>(w, x, acc);
}
template <int T, int q, int S, typename Source>
RILL_INLINE void AddQuadS(const Source& w, const int8_t* x, I32* acc) {
  const B64 v = w.template Quad<q>();
  const B64 v_abs = AbsB(v);
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) acc[t] = DotS(acc[t], v_abs, v, x + (q * S + t) * 4);
}

// dots[t] += sum over quads [q, q + n) of codes * x; x is the unit of a tile of S tokens.
template <DotShape D, int T, int q, int n, int S = T, typename Source>
RILL_INLINE void AddQuads(const Source& w, const int8_t* x, I32* dots) {
  if constexpr (D.is_signed) {
    AddQuadS<T, q, S>(w, x, dots);
    if constexpr (n > 1) AddQuads<D, T, q + 1, n - 1, S>(w, x, dots);
  } else if constexpr (n > DotQuads(D)) {
    AddQuads<D, T, q, n / 2, S>(w, x, dots);
    AddQuads<D, T, q + n / 2, n / 2, S>(w, x, dots);
  } else {
    DotAcc acc[T];
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) acc[t] = StartDot(dots[t]);
    AddRun<T, q, n, S, (n >= 4)>(w, x, acc);
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) dots[t] = FinishDot(dots[t], acc[t]);
  }
}

// The same for P panels whose codes begin at codes[p] + at; quad by quad, so that an activation is
// broadcast once for all of them.
template <DotShape D, int T, int P, int S>
RILL_INLINE void AddQuadsOf(const uint8_t* const* codes, int64_t at, const int8_t* x,
                            I32 (*dots)[T]) {
  if constexpr (P == 2 && kIntegerDot == IntegerDot::kQuad) {
#pragma GCC unroll 8
    for (int q = 0; q < 8; ++q) {
      const B64 v0 = LoadB(codes[0] + at + 64 * q), v1 = LoadB(codes[1] + at + 64 * q);
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t) {
        dots[0][t] = DotU<true>(dots[0][t], v0, x + (q * S + t) * 4);
        dots[1][t] = DotU<true>(dots[1][t], v1, x + (q * S + t) * 4);
      }
    }
  } else {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) AddQuads<D, T, 0, 8, S>(WorkQuads{codes[p] + at}, x, dots[p]);
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

// Whether -offset * sum a of a group of 32 may start in the 16-bit sums, half of it in each of a
// pair: a place then holds  sum (c - offset / 2) a  over its own 16 codes and  -offset / 2 * a  of
// the other 16, |·| <= 30480 for 4 bits and offset 8, whatever part of it was added. It saves an
// addition of 32 bits a group and the register that the start value would wait in.
constexpr bool StartsInPairs(DotShape d) {
  if (kIntegerDot != IntegerDot::kPairs || d.is_signed || d.bits > 4 || d.group == 16) return false;
  const int half = d.offset / 2, largest = (1 << d.bits) - 1 - half;
  return d.offset > 0 && d.offset % 2 == 0 && (half & (half - 1)) == 0 &&
         16 * 127 * ((largest > half ? largest : half) + half) <= 32767;
}

// dots[t] = sum over the 8 quads of a unit of (codes - offset) * x, where a unit is a group.
template <DotShape D, int T, int S = T, typename Source>
RILL_INLINE void UnitDots(const Source& w, const int8_t* x, const int32_t* neg_sum, I32* dots) {
  if constexpr (StartsInPairs(D)) {
    DotAcc acc[T];
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) acc[t] = StartPairs<__builtin_ctz(D.offset / 2)>(neg_sum[t]);
    AddRun<T, 0, 8, S, true>(w, x, acc);
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) dots[t] = FinishDot(SetI(0), acc[t]);
  } else {
    StartDots<D, T>(neg_sum, dots);
    AddQuads<D, T, 0, 8, S>(w, x, dots);
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

// Where a panel's work form is left, unit by unit; without `leaves` nowhere.
template <ExecFormat F, bool leaves>
struct WorkTarget {
  uint8_t* codes = nullptr;
  float *s = nullptr, *m = nullptr;

  static constexpr DotShape Shape() { return leaves ? WorkOf(F) : DirectOf(F); }
  WorkTarget() = default;
  WorkTarget(uint8_t* work, int64_t k, int64_t group_units) {
    codes = work;
    s = reinterpret_cast<float*>(work + k * kPanelRows);
    m = s + WorkGroups(F, k, group_units) * kPanelRows;
  }
  RILL_INLINE auto Source(const uint8_t* unit, B64 zero) const {
    if constexpr (leaves) {
      return LeavingQuads<F>{unit, zero, codes};
    } else {
      return PackedQuads<F>{unit, zero};
    }
  }
  // After each unit, and of each group.
  RILL_INLINE void NextUnit() {
    if constexpr (leaves) codes += kUnit * kPanelRows;
  }
  RILL_INLINE void Group(const Scales& w) {
    if constexpr (leaves) {
      Store(s, w.s);
      s += kPanelRows;
      if constexpr (F.has_m()) {
        Store(m, w.m);
        m += kPanelRows;
      }
    }
  }
};

// A panel times T tokens from packed units: one stream of memory. Panels are read one behind the
// other: with 4 (VNNI-512) or 2 (AVX2) that took turns unit by unit, memory gave 0.9 of the rate
// (Zen 5, 1.1B Q4_0, 1 and 4 tokens: 68 -> 74 and 270 -> 306 tokens/s; AVX2, AVX-VNNI and AVX-512 1
// token: 67 -> 74, 69 -> 78, 72 -> 79).
template <ExecFormat F, int T, bool leaves = false>
void GemvQ8Panel(const uint8_t* panel, int64_t k, int64_t group_units, const QuantTile& tile,
                 float* out, WorkTarget<F, leaves> work = {}) {
  constexpr DotShape D = WorkTarget<F, leaves>::Shape();
  const QuantTile x = tile;
  const uint8_t* at = panel;
  Header header{{Set(0.0f), Set(0.0f)}, AsBytes(SetI(0))};
  V16 acc[T];
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) acc[t] = Set(0.0f);
  const int64_t units = k / kUnit;
  const int64_t step = F.header_units(group_units);
  if constexpr (F.wide()) {
    int64_t group = 0;
    for (int64_t u = 0; u < units; u += step, ++group) {
      const int64_t n = u + step < units ? step : units - u;
      I32 dots[T];
      header = LoadHeader<F>(at);
      at += F.header_bytes();
      StartDots<D, T>(x.neg_sum + group * T, dots);
      for (int64_t i = 0; i < n; ++i) {
        PrefetchUnit<F>(at, kAheadBytes);
        AddQuads<D, T, 0, 8>(work.Source(at, header.zero), x.codes + (u + i) * kUnit * T, dots);
        at += F.unit_bytes();
        work.NextUnit();
      }
      AddGroup<D, T>(dots, header.w, x.scale + group * T, x.scaled_sum + group * T,
                     x.neg_sum + group * T, acc);
      work.Group(header.w);
    }
  } else {
    int64_t left = 0;
    for (int64_t u = 0; u < units; ++u) {
      if constexpr (F.header_bytes() > 0) {
        if (left == 0) {
          header = LoadHeader<F>(at);
          at += F.header_bytes();
          left = step;
        }
        --left;
      }
      const int8_t* codes_x = x.codes + u * kUnit * T;
      PrefetchUnit<F>(at, kAheadBytes);
      const auto source = work.Source(at + F.scale_bytes(), header.zero);
      I32 dots[T];
      if constexpr (F.group == 32) {
        UnitDots<D, T>(source, codes_x, x.neg_sum + u * T, dots);
        const Scales w = LoadScales<F>(at, 0, header.w);
        AddGroup<D, T>(dots, w, x.scale + u * T, x.scaled_sum + u * T, x.neg_sum + u * T, acc);
        work.Group(w);
      } else {
        StartDots<D, T>(x.neg_sum16 + 2 * u * T, dots);
        AddQuads<D, T, 0, 4>(source, codes_x, dots);
        Scales w = LoadScales<F>(at, 0, header.w);
        AddGroup<D, T>(dots, w, x.scale + u * T, x.scaled_sum16 + 2 * u * T,
                       x.neg_sum16 + 2 * u * T, acc);
        work.Group(w);
        StartDots<D, T>(x.neg_sum16 + (2 * u + 1) * T, dots);
        AddQuads<D, T, 4, 4>(source, codes_x, dots);
        w = LoadScales<F>(at, 1, header.w);
        AddGroup<D, T>(dots, w, x.scale + u * T, x.scaled_sum16 + (2 * u + 1) * T,
                       x.neg_sum16 + (2 * u + 1) * T, acc);
        work.Group(w);
      }
      at += F.unit_bytes();
      work.NextUnit();
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) Store(out + t * 16, acc[t]);
}

template <ExecFormat F, int T>
void GemvQ8Width(const uint8_t* panels, int64_t panel_bytes, int64_t num_panels, int64_t k,
                 int64_t group_units, const QuantTile& x, float* out) {
  for (int64_t p = 0; p < num_panels; ++p) {
    GemvQ8Panel<F, T>(panels + p * panel_bytes, k, group_units, x, out + p * T * 16);
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

// Units [unit0, unit1) of P panels in work form times T tokens, which lie in a tile of S.
// unit_groups: each group is a unit; without the loop over units the sums of a group need not be
// moved (Zen 5, two panels, q4_0: 66 -> 64 cycles a group of 12 tokens).
template <DotShape D, int T, int P, int S, bool unit_groups>
RILL_INLINE void GemmWorkPanels(const WorkGemm& g, int first_panel, int first_token) {
  const QuantTile x = g.x;
  const uint8_t* codes[P];
  V16 acc[P][T];
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) {
    codes[p] = g.panels + (first_panel + p) * g.panel_stride;
    const float* out = g.out + (first_panel + p) * g.out_stride + 16 * first_token;
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) acc[p][t] = g.unit0 == 0 ? Set(0.0f) : Load(out + 16 * t);
  }
  const auto scales = [&](int p, int64_t group) {
    const auto* s = reinterpret_cast<const float*>(codes[p] + g.k * kPanelRows);
    Scales w{Load(s + group * kPanelRows), Set(0.0f)};
    if constexpr (D.has_m()) w.m = Load(s + (g.num_groups + group) * kPanelRows);
    return w;
  };
  if constexpr (D.group == 16) {
    for (int64_t u = g.unit0; u < g.unit1; ++u) {
      const int8_t* codes_x = x.codes + u * kUnit * S + 4 * first_token;
      const float* d = x.scale + u * S + first_token;
      const int64_t h = 2 * u * S + first_token;
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        const WorkQuads source{codes[p] + u * kUnit * kPanelRows};
        I32 dots[T];
        StartDots<D, T>(x.neg_sum16 + h, dots);
        AddQuads<D, T, 0, 4, S>(source, codes_x, dots);
        AddGroup<D, T>(dots, scales(p, 2 * u), d, x.scaled_sum16 + h, x.neg_sum16 + h, acc[p]);
        StartDots<D, T>(x.neg_sum16 + h + S, dots);
        AddQuads<D, T, 4, 4, S>(source, codes_x, dots);
        AddGroup<D, T>(dots, scales(p, 2 * u + 1), d, x.scaled_sum16 + h + S, x.neg_sum16 + h + S,
                       acc[p]);
      }
    }
  } else {
    const int64_t group_units = unit_groups ? 1 : g.group_units;
    int64_t group = g.unit0 / group_units;
    for (int64_t u = g.unit0; u < g.unit1; ++group) {
      const int64_t end = u + group_units < g.unit1 ? u + group_units : g.unit1;
      I32 dots[P][T];
      const int64_t h = group * S + first_token;
      if constexpr (unit_groups && P == 1) {
        UnitDots<D, T, S>(WorkQuads{codes[0] + u * kUnit * kPanelRows},
                          x.codes + u * kUnit * S + 4 * first_token, x.neg_sum + h, dots[0]);
        ++u;
      } else {
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) StartDots<D, T>(x.neg_sum + h, dots[p]);
        do {
          AddQuadsOf<D, T, P, S>(codes, u * kUnit * kPanelRows,
                                 x.codes + u * kUnit * S + 4 * first_token, dots);
        } while (++u < end && !unit_groups);
      }
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        AddGroup<D, T>(dots[p], scales(p, group), x.scale + h, x.scaled_sum + h, x.neg_sum + h,
                       acc[p]);
      }
    }
  }
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) {
    float* out = g.out + (first_panel + p) * g.out_stride + 16 * first_token;
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) Store(out + 16 * t, acc[p][t]);
  }
}
template <DotShape D, int T, bool unit_groups>
void GemmWorkOfGroups(const WorkGemm& args) {
  const WorkGemm g = args;
  int p = 0;
  if constexpr (kWorkPanels == 2 && D.group != 16) {
    if constexpr (T == kTileQ8) {
      for (; p + 2 <= g.num_panels; p += 2) {
        GemmWorkPanels<D, T / 2, 2, T, unit_groups>(g, p, 0);
        GemmWorkPanels<D, T / 2, 2, T, unit_groups>(g, p, T / 2);
      }
    } else if constexpr (T <= kTileQ8 / 2) {
      for (; p + 2 <= g.num_panels; p += 2) GemmWorkPanels<D, T, 2, T, unit_groups>(g, p, 0);
    }
  }
  for (; p < g.num_panels; ++p) GemmWorkPanels<D, T, 1, T, unit_groups>(g, p, 0);
}
template <DotShape D, int T>
void GemmWorkWidth(const WorkGemm& g) {
  if constexpr ((kWorkPanels == 2 || kIntegerDot == IntegerDot::kPairs) && D.group != 16) {
    if (g.group_units == 1) return GemmWorkOfGroups<D, T, true>(g);
  }
  GemmWorkOfGroups<D, T, false>(g);
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

// A tile from packed units, panel by panel: up to a whole tile alone, or a whole one that leaves
// the panels' work forms for the next tiles.
template <ExecFormat F>
void GemmPacked(const PackedGemm& g) {
  constexpr int step = kTileQ8 / kTileSteps;
  for (int64_t p = 0; p < g.num_panels; ++p) {
    const uint8_t* panel = g.panels + p * g.panel_bytes;
    float* out = g.out + p * g.out_stride;
    const auto multiply = [&]<int T>() { GemvQ8Panel<F, T>(panel, g.k, g.group_units, g.x, out); };
    if (g.work != nullptr) {
      GemvQ8Panel<F, kTileQ8, true>(panel, g.k, g.group_units, g.x, out,
                                    {g.work + p * g.work_stride, g.k, g.group_units});
    } else if (g.width <= step) {
      multiply.template operator()<step>();
    } else if (g.width <= 2 * step) {
      multiply.template operator()<2 * step>();
    } else {
      multiply.template operator()<kTileQ8>();
    }
  }
}
#endif
