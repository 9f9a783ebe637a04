// The integer kernel for many tokens on AMX: the tile unit does the dot products of 16 tokens and
// 16 rows of one group at a time, exactly; sums go through memory (L1) to the vector unit, which
// adds them in f32 as gemm_q8.inl says. Bits are those of any other ISA.
//
//   A tile  [T tokens][32 k] s8     activations, rows of TileLayout::kUnits
//   B tile  [8 quads][16 rows][4]   the unit of a panel in work form, signed where there is no
//   minimum C tile  [T tokens][16 rows] s32
//
// Two sets of tile registers take turns, which hides latency. What binds is port 5: a
// multiplication and a store of 16 rows take it for 16 cycles each, half of the f32 work 24 more:
// 56 cycles for 8192 products. Reached 285-345 GMAC/s a core; f32 work in ymm halves lost (83
// against 64 cycles).

struct TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
// Tiles 0, 3: C; 1, 4: A; 2, 5: B.
constexpr TileConfig MakeTileConfig(int tokens, int k) {
  TileConfig c;
  for (int set = 0; set < 6; set += 3) {
    c.rows[set] = static_cast<uint8_t>(tokens);
    c.row_bytes[set] = 64;
    c.rows[set + 1] = static_cast<uint8_t>(tokens);
    c.row_bytes[set + 1] = static_cast<uint16_t>(k);
    c.rows[set + 2] = static_cast<uint8_t>(k / 4);
    c.row_bytes[set + 2] = 64;
  }
  return c;
}
template <int T, int k>
alignas(64) inline constexpr TileConfig kTileConfig = MakeTileConfig(T, k);

// Sums of one group (of T tokens) to c; `set` chooses the registers.
#define RILL_TILE_DOT(C, A, B, x, w, c) \
  RILL_TILE_LOAD(A, x, kUnit);          \
  RILL_TILE_LOAD(B, w, 64);             \
  RILL_TILE_ZERO(C);                    \
  if constexpr (D.is_signed) {          \
    RILL_TILE_DOT_SS(C, A, B);          \
  } else {                              \
    RILL_TILE_DOT_SU(C, A, B);          \
  }                                     \
  RILL_TILE_STORE(C, c, 64)

template <DotShape D, int T>
RILL_INLINE void AddTile(const int32_t* c, const float* s, const float* m, const float* d,
                         const float* sum, const int32_t* neg_sum, V16* acc) {
  Scales w{Load(s), Set(0.0f)};
  if constexpr (D.has_m()) w.m = Load(m);
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) {
    const V16 dots = GroupFloat<D>(LoadI(c + 16 * t), w, neg_sum[t]);
    acc[t] = Fma(dots, Mul(w.s, Set(d[t])), acc[t]);
    if constexpr (D.has_min) acc[t] = Fma(w.m, Set(sum[t]), acc[t]);
  }
}

// Groups of 16 or 32 k.
template <DotShape D, int T>
void GemmTilesWidth(const WorkGemm& args) {
  const WorkGemm g = args;
  const QuantTile x = g.x;
  constexpr int n = 32 / D.group;  // groups of a unit
  RILL_TILE_CONFIGURE(&kTileConfig<T, D.group>);
  alignas(64) int32_t c[2][16 * 16];
  const float* sums = n == 1 ? x.scaled_sum : x.scaled_sum16;
  const int32_t* neg_sums = n == 1 ? x.neg_sum : x.neg_sum16;
  const int64_t begin = g.unit0 * n, end = g.unit1 * n;
  for (int p = 0; p < g.num_panels; ++p) {
    const uint8_t* codes = g.panels + p * g.panel_stride;
    const auto* s = reinterpret_cast<const float*>(codes + g.k * kPanelRows);
    const float* m = s + g.num_groups * kPanelRows;
    float* out = g.out + p * g.out_stride;
    V16 acc[T];
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) acc[t] = begin == 0 ? Set(0.0f) : Load(out + 16 * t);
    const auto x_at = [&](int64_t i) __attribute__((always_inline)) {
      return x.codes + (i / n * T) * kUnit + i % n * 16;
    };
    const auto w_at = [&](int64_t i) __attribute__((always_inline)) {
      return codes + i * D.group * kPanelRows;
    };
    int64_t i = begin;
    RILL_TILE_DOT(0, 1, 2, x_at(i), w_at(i), c[0]);
    for (; i + 2 <= end; i += 2) {
      RILL_TILE_DOT(3, 4, 5, x_at(i + 1), w_at(i + 1), c[1]);
      AddTile<D, T>(c[0], s + i * 16, m + i * 16, x.scale + i / n * T, sums + i * T,
                    neg_sums + i * T, acc);
      if (i + 2 < end) {
        RILL_TILE_DOT(0, 1, 2, x_at(i + 2), w_at(i + 2), c[0]);
      }
      AddTile<D, T>(c[1], s + (i + 1) * 16, m + (i + 1) * 16, x.scale + (i + 1) / n * T,
                    sums + (i + 1) * T, neg_sums + (i + 1) * T, acc);
    }
    if (i < end) {
      AddTile<D, T>(c[0], s + i * 16, m + i * 16, x.scale + i / n * T, sums + i * T,
                    neg_sums + i * T, acc);
    }
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) Store(out + 16 * t, acc[t]);
  }
  RILL_TILE_RELEASE();
}

// Groups of more than 32 k: the tile adds up over the group.
template <DotShape D, int T>
void GemmTilesWide(const WorkGemm& args) {
  const WorkGemm g = args;
  const QuantTile x = g.x;
  RILL_TILE_CONFIGURE(&kTileConfig<T, 32>);
  alignas(64) int32_t c[16 * 16];
  for (int p = 0; p < g.num_panels; ++p) {
    const uint8_t* codes = g.panels + p * g.panel_stride;
    const auto* s = reinterpret_cast<const float*>(codes + g.k * kPanelRows);
    const float* m = s + g.num_groups * kPanelRows;
    float* out = g.out + p * g.out_stride;
    V16 acc[T];
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) acc[t] = g.unit0 == 0 ? Set(0.0f) : Load(out + 16 * t);
    int64_t group = g.unit0 / g.group_units;
    for (int64_t u = g.unit0; u < g.unit1; ++group) {
      const int64_t end = u + g.group_units < g.unit1 ? u + g.group_units : g.unit1;
      RILL_TILE_ZERO(0);
      do {
        RILL_TILE_LOAD(1, x.codes + u * T * kUnit, kUnit);
        RILL_TILE_LOAD(2, codes + u * kUnit * kPanelRows, 64);
        if constexpr (D.is_signed) {
          RILL_TILE_DOT_SS(0, 1, 2);
        } else {
          RILL_TILE_DOT_SU(0, 1, 2);
        }
      } while (++u < end);
      RILL_TILE_STORE(0, c, 64);
      AddTile<D, T>(c, s + group * 16, m + group * 16, x.scale + group * T,
                    x.scaled_sum + group * T, x.neg_sum + group * T, acc);
    }
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) Store(out + 16 * t, acc[t]);
  }
  RILL_TILE_RELEASE();
}

template <DotShape D, int T>
void GemmTilesAny(const WorkGemm& g) {
  if constexpr (D.group == 32) {
    if (g.group_units > 1) return GemmTilesWide<D, T>(g);
  }
  GemmTilesWidth<D, T>(g);
}
template <DotShape D>
void GemmTiles(const WorkGemm& g) {
  switch ((g.width + 3) / 4) {
    case 1: return GemmTilesAny<D, 4>(g);
    case 2: return GemmTilesAny<D, 8>(g);
    case 3: return GemmTilesAny<D, 12>(g);
    default: return GemmTilesAny<D, 16>(g);
  }
}

// Packed panels times one tile of T tokens, units taken apart two steps before they are multiplied:
// the vector unit takes codes apart while the tile unit multiplies. For one tile (q4_0, k = 2048,
// one core, a work form made first: 97 -> 170 GMAC/s for 8 tokens, 159 -> 255 for 16) the units go
// through a ring; for the first of several they are left as the panel's work form, and the others
// find it made. Panels stream in one after the other, prefetched twice as far ahead as the vector
// kernels' (8 tokens from DRAM: 145 -> 126 us a 2048 x 2048; three times as far: 136). Lost: four
// sets of sums instead of two, units prepared four or six steps ahead (no difference); every tile
// through a ring of its own (SmolLM2: even at 64 tokens).
// Groups of 32 or more k: with 16 a work form is faster.
template <ExecFormat F, int T, bool leaves_work>
struct PackedTile {
  static constexpr DotShape D = WorkOf(F);
  static_assert(D.group == 32);
  static constexpr int64_t kRing = 4;  // units that are ready or in use
  // Unit u is at u & mask: of all that the panel has, or of the ring.
  static constexpr int64_t kMask = leaves_work ? -1 : kRing - 1;
  // Scales of groups of several units are needed where the group begins: always from a ring.
  static constexpr int64_t kScaleMask = F.wide() ? kRing - 1 : kMask;
  // Bytes as a B tile holds them: read where they are, unless a work form is to be left.
  static constexpr bool kInPlace =
      !leaves_work &&
      (F.zero_in_sum() || (F.bits == 8 && F.code == CodeKind::kSigned && D.is_signed));
  // Not members of PackedTile: what is indexed by a variable would keep all of it in memory.
  struct Ring {
    const uint8_t* in_place[kRing];
    alignas(64) uint8_t codes[kRing * kUnit * kPanelRows];
    alignas(64) float scales[2 * kRing * 16];
  };

  UnitWalk<F> walk;
  const int64_t units;
  const uint8_t** in_place;
  uint8_t* codes;
  float *s, *m;
  float *wide_s = nullptr, *wide_m = nullptr;  // of the work form, the next group's

  RILL_INLINE PackedTile(const PackedGemm& g, int64_t p, Ring& ring)
      : walk(g.panels + p * g.panel_bytes, g.group_units),
        units(g.k / kUnit),
        in_place(ring.in_place),
        codes(ring.codes),
        s(ring.scales),
        m(ring.scales + kRing * 16) {
    if constexpr (leaves_work) {
      codes = g.work + p * g.work_stride;
      auto* scales = reinterpret_cast<float*>(codes + g.k * kPanelRows);
      float* minima = scales + WorkGroups(F, g.k, g.group_units) * kPanelRows;
      (F.wide() ? wide_s : s) = scales;
      (F.wide() ? wide_m : m) = minima;
    }
  }
  RILL_INLINE void Prepare(int64_t u) {
    if (u >= units) return;
    const bool new_group = F.wide() && walk.left == 0;
    walk.Enter();
    PrefetchUnit<F>(walk.p, 2 * kPrefetchBytes);
    if constexpr (kInPlace) {
      in_place[u & kMask] = walk.codes();
    } else {
      ExpandQuads<F, 0>(walk.codes(), walk.header.zero, codes + (u & kMask) * kUnit * kPanelRows);
    }
    const Scales w = walk.scales(0);
    const int64_t at = (u & kScaleMask) * 16;
    Store(s + at, w.s);
    if constexpr (D.has_m()) Store(m + at, w.m);
    if constexpr (leaves_work && F.wide()) {
      if (new_group) {
        Store(wide_s, w.s);
        wide_s += kPanelRows;
        if constexpr (D.has_m()) {
          Store(wide_m, w.m);
          wide_m += kPanelRows;
        }
      }
    }
    walk.Next();
  }
  RILL_INLINE const uint8_t* B(int64_t u) const {
    if constexpr (kInPlace) return in_place[u & kMask];
    return codes + (u & kMask) * kUnit * kPanelRows;
  }
  RILL_INLINE static const int8_t* A(const QuantTile& x, int64_t u) {
    return x.codes + u * T * kUnit;
  }
  RILL_INLINE void Add(const int32_t* c, int64_t u, const QuantTile& x, V16* acc) const {
    const int64_t at = (u & kScaleMask) * 16;
    AddTile<D, T>(c, s + at, m + at, x.scale + u * T, x.scaled_sum + u * T, x.neg_sum + u * T, acc);
  }
  RILL_INLINE void Run(const QuantTile& x, V16* acc) {
    alignas(64) int32_t c[2][16 * T];
    Prepare(0);
    Prepare(1);
    int64_t u = 0;
    RILL_TILE_DOT(0, 1, 2, A(x, 0), B(0), c[0]);
    for (; u + 2 <= units; u += 2) {
      Prepare(u + 2);
      RILL_TILE_DOT(3, 4, 5, A(x, u + 1), B(u + 1), c[1]);
      Add(c[0], u, x, acc);
      Prepare(u + 3);
      if (u + 2 < units) {
        RILL_TILE_DOT(0, 1, 2, A(x, u + 2), B(u + 2), c[0]);
      }
      Add(c[1], u + 1, x, acc);
    }
    if (u < units) Add(c[0], u, x, acc);
  }
  // Groups of several units: the tile adds up over the group.
  RILL_INLINE void RunWide(const QuantTile& x, int64_t group_units, V16* acc) {
    alignas(64) int32_t c[16 * T];
    Prepare(0);
    Prepare(1);
    int64_t group = 0;
    for (int64_t u = 0; u < units; ++group) {
      const int64_t end = u + group_units < units ? u + group_units : units;
      const int64_t at = (u & kScaleMask) * 16;
      alignas(64) float kept[2][16];
      Store(kept[0], Load(s + at));
      if constexpr (D.has_m()) Store(kept[1], Load(m + at));
      RILL_TILE_ZERO(0);
      do {
        Prepare(u + 2);
        RILL_TILE_LOAD(1, A(x, u), kUnit);
        RILL_TILE_LOAD(2, B(u), 64);
        if constexpr (D.is_signed) {
          RILL_TILE_DOT_SS(0, 1, 2);
        } else {
          RILL_TILE_DOT_SU(0, 1, 2);
        }
      } while (++u < end);
      RILL_TILE_STORE(0, c, 64);
      AddTile<D, T>(c, kept[0], kept[1], x.scale + group * T, x.scaled_sum + group * T,
                    x.neg_sum + group * T, acc);
    }
  }
};
template <ExecFormat F, int T, bool leaves_work>
void GemmPackedWidth(const PackedGemm& args) {
  using Tile = PackedTile<F, T, leaves_work>;
  const PackedGemm g = args;
  const QuantTile x = g.x;
  RILL_TILE_CONFIGURE(&kTileConfig<T, 32>);
  typename Tile::Ring ring;
  for (int64_t p = 0; p < g.num_panels; ++p) {
    Tile panel(g, p, ring);
    V16 acc[T];
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) acc[t] = Set(0.0f);
    if constexpr (F.wide()) {
      panel.RunWide(x, g.group_units, acc);
    } else {
      panel.Run(x, acc);
    }
    float* out = g.out + p * g.out_stride;
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) Store(out + t * 16, acc[t]);
  }
  RILL_TILE_RELEASE();
}
template <ExecFormat F>
void GemmPacked(const PackedGemm& g) {
  if (g.work != nullptr) return GemmPackedWidth<F, 16, true>(g);
  if (g.width == 8) return GemmPackedWidth<F, 8, false>(g);
  GemmPackedWidth<F, 16, false>(g);
}
#undef RILL_TILE_DOT
template <DotShape D>
constexpr GemmWorkFn GemmWorkOf() {
  return GemmTiles<D>;
}
