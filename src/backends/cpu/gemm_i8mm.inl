// The integer kernel for many tokens on smmla, which multiplies 2 x 8 with 8 x 2 bytes and adds the
// 2 x 2 products to 32-bit sums: twice the products of sdot an instruction. Bits are those of any
// other ISA (gemm_q8.inl says what is computed).
//
//   activations  TileLayout::kEights: two tokens' 8 k are one operand
//   weights      work form with quads in pairs: two rows' 8 k are the other operand
//   sums         of tokens t, t + 1 and rows r, r + 1: one register, taken apart once a group
//
// Tiles of 4 tokens: 16 registers of sums, 2 of activations, and the weights that pass through; f32
// sums come from L1 once a group.

// dots[t], dots[t + 1]: the sums of a pair of tokens, register p of the eight for rows 2 p, 2 p
// + 1.
template <int T>
RILL_INLINE void AddEight(const uint8_t* w, const int8_t* x, I32* dots) {
  int8x16_t tokens[T / 2];
#pragma GCC unroll 4
  for (int i = 0; i < T / 2; ++i) tokens[i] = vld1q_s8(x + 16 * i);
#define RILL_ROWS(token, reg, p) \
  reg = vmmlaq_s32(reg, token, vreinterpretq_s8_u8(vld1q_u8(w + 16 * (p))))
#pragma GCC unroll 4
  for (int i = 0; i < T / 2; ++i) {
    I32 &low = dots[2 * i], &high = dots[2 * i + 1];
    RILL_ROWS(tokens[i], low.a, 0);
    RILL_ROWS(tokens[i], low.b, 1);
    RILL_ROWS(tokens[i], low.c, 2);
    RILL_ROWS(tokens[i], low.d, 3);
    RILL_ROWS(tokens[i], high.a, 4);
    RILL_ROWS(tokens[i], high.b, 5);
    RILL_ROWS(tokens[i], high.c, 6);
    RILL_ROWS(tokens[i], high.d, 7);
  }
#undef RILL_ROWS
}

// From pairs of tokens to tokens.
RILL_INLINE int32x4_t FirstToken(int32x4_t a, int32x4_t b) {
  return vreinterpretq_s32_s64(vuzp1q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}
RILL_INLINE int32x4_t SecondToken(int32x4_t a, int32x4_t b) {
  return vreinterpretq_s32_s64(vuzp2q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}
template <int T>
RILL_INLINE void SplitTokens(I32* dots) {
#pragma GCC unroll 4
  for (int t = 0; t < T; t += 2) {
    const I32 low = dots[t], high = dots[t + 1];
    dots[t] = {FirstToken(low.a, low.b), FirstToken(low.c, low.d), FirstToken(high.a, high.b),
               FirstToken(high.c, high.d)};
    dots[t + 1] = {SecondToken(low.a, low.b), SecondToken(low.c, low.d),
                   SecondToken(high.a, high.b), SecondToken(high.c, high.d)};
  }
}

// Units [unit0, unit1) of panels in work form times T tokens.
template <DotShape D, int T>
void GemmRowPairsWidth(const WorkGemm& args) {
  static_assert(D.offset == 0);
  const WorkGemm g = args;
  const QuantTile x = g.x;
  constexpr int n = 32 / D.group;  // groups of a unit
  constexpr int kEights = 4 / n;   // of a group, or of a unit of a wide one
  const float* sums = n == 1 ? x.scaled_sum : x.scaled_sum16;
  const int32_t* neg_sums = n == 1 ? x.neg_sum : x.neg_sum16;
  const int64_t group_steps = n == 1 ? g.group_units : 1;
  const int64_t begin = g.unit0 * n, end = g.unit1 * n;
  for (int p = 0; p < g.num_panels; ++p) {
    const uint8_t* codes = g.panels + p * g.panel_stride;
    const auto* s = reinterpret_cast<const float*>(codes + g.k * kPanelRows);
    const float* m = s + g.num_groups * kPanelRows;
    float* out = g.out + p * g.out_stride;
    V16 acc[T];
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) acc[t] = begin == 0 ? Set(0.0f) : Load(out + 16 * t);
    int64_t group = begin / group_steps;
    for (int64_t i = begin; i < end; ++group) {
      const int64_t stop = i + group_steps < end ? i + group_steps : end;
      I32 dots[T];
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) dots[t] = SetI(0);
      do {
#pragma GCC unroll 4
        for (int e = 0; e < kEights; ++e) {
          const int64_t at = i * kEights + e;
          AddEight<T>(codes + at * 8 * kPanelRows, x.codes + at * 8 * T, dots);
        }
      } while (++i < stop);
      SplitTokens<T>(dots);
      Scales w{Load(s + group * kPanelRows), Set(0.0f)};
      if constexpr (D.has_m()) w.m = Load(m + group * kPanelRows);
      AddGroup<D, T>(dots, w, x.scale + group / n * T, sums + group * T, neg_sums + group * T, acc);
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) Store(out + 16 * t, acc[t]);
  }
}
template <DotShape D>
void GemmRowPairs(const WorkGemm& g) {
  if (g.width <= 2) return GemmRowPairsWidth<D, 2>(g);
  GemmRowPairsWidth<D, kTileQ8>(g);
}
template <DotShape D>
constexpr GemmWorkFn GemmWorkOf() {
  return GemmRowPairs<D>;
}
