// The vector type of the kernels on Arm: four q registers. Same operations and bits as
// isa/vec_scalar.inl, which says what each one means. RILL_DOT selects sdot (Armv8.2), RILL_I8MM
// smmla (gemm_i8mm.inl).

struct V16 {
  float32x4_t a, b, c, d;
};
struct I32 {
  int32x4_t a, b, c, d;
};
struct M16 {
  uint32x4_t a, b, c, d;
};
// Register r: rows 4 r .. 4 r + 3.
struct B64 {
  uint8x16_t a, b, c, d;
};

// The same on each register; x, y, z: vectors, n: anything else.
#define RILL_EACH_1(F, x) {F((x).a), F((x).b), F((x).c), F((x).d)}
#define RILL_EACH_1N(F, x, n) {F((x).a, n), F((x).b, n), F((x).c, n), F((x).d, n)}
#define RILL_EACH_2(F, x, y) {F((x).a, (y).a), F((x).b, (y).b), F((x).c, (y).c), F((x).d, (y).d)}
#define RILL_EACH_3(F, x, y, z) \
  {F((x).a, (y).a, (z).a), F((x).b, (y).b, (z).b), F((x).c, (y).c, (z).c), F((x).d, (y).d, (z).d)}

RILL_INLINE V16 Set(float x) {
  const float32x4_t v = vdupq_n_f32(x);
  return {v, v, v, v};
}
RILL_INLINE V16 Load(const float* p) {
  return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
RILL_INLINE void Store(float* p, V16 x) {
  vst1q_f32(p, x.a);
  vst1q_f32(p + 4, x.b);
  vst1q_f32(p + 8, x.c);
  vst1q_f32(p + 12, x.d);
}
// There is no store past the caches here.
RILL_INLINE void StorePast(float* p, V16 a) {
  Store(p, a);
}
inline void EndStoresPast() {}
RILL_INLINE V16 Add(V16 x, V16 y) {
  return RILL_EACH_2(vaddq_f32, x, y);
}
RILL_INLINE V16 Sub(V16 x, V16 y) {
  return RILL_EACH_2(vsubq_f32, x, y);
}
RILL_INLINE V16 Mul(V16 x, V16 y) {
  return RILL_EACH_2(vmulq_f32, x, y);
}
RILL_INLINE V16 Div(V16 x, V16 y) {
  return RILL_EACH_2(vdivq_f32, x, y);
}
RILL_INLINE V16 Fma(V16 x, V16 y, V16 z) {
  return RILL_EACH_3(vfmaq_f32, z, x, y);
}
RILL_INLINE V16 Fnma(V16 x, V16 y, V16 z) {
  return RILL_EACH_3(vfmsq_f32, z, x, y);
}
// Not fmax: that takes the larger zero, and another NaN than maxps does.
RILL_INLINE float32x4_t Max4(float32x4_t x, float32x4_t y) {
  return vbslq_f32(vcgtq_f32(x, y), x, y);
}
RILL_INLINE float32x4_t Min4(float32x4_t x, float32x4_t y) {
  return vbslq_f32(vcltq_f32(x, y), x, y);
}
RILL_INLINE V16 Max(V16 x, V16 y) {
  return RILL_EACH_2(Max4, x, y);
}
RILL_INLINE V16 Min(V16 x, V16 y) {
  return RILL_EACH_2(Min4, x, y);
}
RILL_INLINE V16 Round(V16 x) {
  const V16 magic = Set(12582912.0f);
  return Sub(Add(x, magic), magic);
}
// fcvtzs gives 0 for NaN and INT_MAX for what is too large: not what cvttps does.
RILL_INLINE int32x4_t ToInt4(float32x4_t x) {
  return vbslq_s32(vcltq_f32(x, vdupq_n_f32(2147483648.0f)), vcvtq_s32_f32(x),
                   vdupq_n_s32(INT32_MIN));
}
RILL_INLINE I32 ToInt(V16 x) {
  return RILL_EACH_1(ToInt4, x);
}
RILL_INLINE V16 ToFloat(I32 x) {
  return RILL_EACH_1(vcvtq_f32_s32, x);
}
RILL_INLINE I32 Bits(V16 x) {
  return RILL_EACH_1(vreinterpretq_s32_f32, x);
}
RILL_INLINE V16 FromBits(I32 x) {
  return RILL_EACH_1(vreinterpretq_f32_s32, x);
}
RILL_INLINE I32 SetI(int32_t x) {
  const int32x4_t v = vdupq_n_s32(x);
  return {v, v, v, v};
}
RILL_INLINE I32 LoadI(const int32_t* p) {
  return {vld1q_s32(p), vld1q_s32(p + 4), vld1q_s32(p + 8), vld1q_s32(p + 12)};
}
RILL_INLINE void StoreI(int32_t* p, I32 x) {
  vst1q_s32(p, x.a);
  vst1q_s32(p + 4, x.b);
  vst1q_s32(p + 8, x.c);
  vst1q_s32(p + 12, x.d);
}
RILL_INLINE I32 AddI(I32 x, I32 y) {
  return RILL_EACH_2(vaddq_s32, x, y);
}
RILL_INLINE I32 SubI(I32 x, I32 y) {
  return RILL_EACH_2(vsubq_s32, x, y);
}
RILL_INLINE I32 AndI(I32 x, I32 y) {
  return RILL_EACH_2(vandq_s32, x, y);
}
RILL_INLINE I32 OrI(I32 x, I32 y) {
  return RILL_EACH_2(vorrq_s32, x, y);
}
RILL_INLINE I32 MaxI(I32 x, I32 y) {
  return RILL_EACH_2(vmaxq_s32, x, y);
}
template <int n>
RILL_INLINE I32 ShlI(I32 x) {
  return RILL_EACH_1N(vshlq_n_s32, x, n);
}
template <int n>
RILL_INLINE I32 SraI(I32 x) {
  return RILL_EACH_1N(vshrq_n_s32, x, n);
}
RILL_INLINE M16 Lt(V16 x, V16 y) {
  return RILL_EACH_2(vcltq_f32, x, y);
}
RILL_INLINE M16 LtI(I32 x, I32 y) {
  return RILL_EACH_2(vcltq_s32, x, y);
}
RILL_INLINE bool All(M16 m) {
  return vminvq_u32(vandq_u32(vandq_u32(m.a, m.b), vandq_u32(m.c, m.d))) == 0xFFFFFFFFu;
}
RILL_INLINE V16 Select(M16 m, V16 yes, V16 no) {
  return RILL_EACH_3(vbslq_f32, m, yes, no);
}
RILL_INLINE float ReduceAdd(V16 x) {
  const float32x4_t r4 = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
  const float32x2_t r2 = vadd_f32(vget_low_f32(r4), vget_high_f32(r4));
  return vget_lane_f32(r2, 0) + vget_lane_f32(r2, 1);
}
RILL_INLINE float ReduceMax(V16 x) {
  float32x4_t r = Max4(Max4(x.a, x.c), Max4(x.b, x.d));
  r = Max4(r, vextq_f32(r, r, 2));
  const float first = vgetq_lane_f32(r, 0), second = vgetq_lane_f32(r, 1);
  return first > second ? first : second;
}
RILL_INLINE int32_t ReduceMaxI(I32 x) {
  return vmaxvq_s32(vmaxq_s32(vmaxq_s32(x.a, x.b), vmaxq_s32(x.c, x.d)));
}
RILL_INLINE int32_t ReduceAddI(I32 x) {
  return vaddvq_s32(vaddq_s32(vaddq_s32(x.a, x.b), vaddq_s32(x.c, x.d)));
}
// Lane i: the lanes of v[i] reduced; for operations where the order does not matter. Registers of
// four vectors at once, then even and odd lanes, twice.
template <typename Op>
RILL_INLINE I32 ReduceEach(const I32* v) {
  I32 r[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const I32 &p = v[4 * i], &q = v[4 * i + 1], &s = v[4 * i + 2], &t = v[4 * i + 3];
    r[i] = Op::Apply(Op::Apply({p.a, q.a, s.a, t.a}, {p.b, q.b, s.b, t.b}),
                     Op::Apply({p.c, q.c, s.c, t.c}, {p.d, q.d, s.d, t.d}));
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const I32 &p = r[2 * i], &q = r[2 * i + 1];
    r[i] = Op::Apply(
        {vuzp1q_s32(p.a, p.b), vuzp1q_s32(p.c, p.d), vuzp1q_s32(q.a, q.b), vuzp1q_s32(q.c, q.d)},
        {vuzp2q_s32(p.a, p.b), vuzp2q_s32(p.c, p.d), vuzp2q_s32(q.a, q.b), vuzp2q_s32(q.c, q.d)});
  }
  const I32 &p = r[0], &q = r[1];
  return Op::Apply(
      {vuzp1q_s32(p.a, p.b), vuzp1q_s32(p.c, p.d), vuzp1q_s32(q.a, q.b), vuzp1q_s32(q.c, q.d)},
      {vuzp2q_s32(p.a, p.b), vuzp2q_s32(p.c, p.d), vuzp2q_s32(q.a, q.b), vuzp2q_s32(q.c, q.d)});
}
RILL_INLINE float32x4_t LoadF16x4(const uint16_t* p) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
RILL_INLINE V16 LoadF16(const uint16_t* p) {
  return {LoadF16x4(p), LoadF16x4(p + 4), LoadF16x4(p + 8), LoadF16x4(p + 12)};
}
RILL_INLINE float32x4_t LoadBf16x4(const uint16_t* p) {
  return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
}
RILL_INLINE V16 LoadBf16(const uint16_t* p) {
  return {LoadBf16x4(p), LoadBf16x4(p + 4), LoadBf16x4(p + 8), LoadBf16x4(p + 12)};
}
RILL_INLINE void StoreF16x4(uint16_t* p, float32x4_t x) {
  vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x)));
}
RILL_INLINE void StoreF16(uint16_t* p, V16 x) {
  StoreF16x4(p, x.a);
  StoreF16x4(p + 4, x.b);
  StoreF16x4(p + 8, x.c);
  StoreF16x4(p + 12, x.d);
}
RILL_INLINE I32 LoadU8(const uint8_t* p) {
  const uint8x16_t v = vld1q_u8(p);
  const uint16x8_t low = vmovl_u8(vget_low_u8(v)), high = vmovl_high_u8(v);
  return {vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(low))),
          vreinterpretq_s32_u32(vmovl_high_u16(low)),
          vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(high))),
          vreinterpretq_s32_u32(vmovl_high_u16(high))};
}
RILL_INLINE I32 LoadS8(const uint8_t* p) {
  const int8x16_t v = vreinterpretq_s8_u8(vld1q_u8(p));
  const int16x8_t low = vmovl_s8(vget_low_s8(v)), high = vmovl_high_s8(v);
  return {vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low), vmovl_s16(vget_low_s16(high)),
          vmovl_high_s16(high)};
}
RILL_INLINE void StoreS8(int8_t* p, I32 x) {
  const int16x8_t low = vuzp1q_s16(vreinterpretq_s16_s32(x.a), vreinterpretq_s16_s32(x.b));
  const int16x8_t high = vuzp1q_s16(vreinterpretq_s16_s32(x.c), vreinterpretq_s16_s32(x.d));
  vst1q_s8(p, vuzp1q_s8(vreinterpretq_s8_s16(low), vreinterpretq_s8_s16(high)));
}

inline constexpr bool kStoresFours = false;
RILL_INLINE void StoreFour(int8_t*, int64_t, const I32*, const I32*) {}
RILL_INLINE B64 LoadB(const uint8_t* p) {
  return {vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)};
}
RILL_INLINE void StoreB(uint8_t* p, B64 x) {
  vst1q_u8(p, x.a);
  vst1q_u8(p + 16, x.b);
  vst1q_u8(p + 32, x.c);
  vst1q_u8(p + 48, x.d);
}
#if RILL_I8MM
// A unit of 8 quads: quads 2 i and 2 i + 1 become 8 k of each row.
RILL_INLINE void PairQuads4(uint8x16_t even, uint8x16_t odd, uint8_t* out) {
  const uint32x4_t x = vreinterpretq_u32_u8(even), y = vreinterpretq_u32_u8(odd);
  vst1q_u8(out, vreinterpretq_u8_u32(vzip1q_u32(x, y)));
  vst1q_u8(out + 16, vreinterpretq_u8_u32(vzip2q_u32(x, y)));
}
RILL_INLINE void PairQuads(uint8_t* unit) {
  for (int i = 0; i < 4; ++i, unit += 128) {
    const B64 even = LoadB(unit), odd = LoadB(unit + 64);
    PairQuads4(even.a, odd.a, unit);
    PairQuads4(even.b, odd.b, unit + 32);
    PairQuads4(even.c, odd.c, unit + 64);
    PairQuads4(even.d, odd.d, unit + 96);
  }
}
#endif
RILL_INLINE B64 AsBytes(I32 x) {
  return RILL_EACH_1(vreinterpretq_u8_s32, x);
}
RILL_INLINE I32 AsLanes(B64 x) {
  return RILL_EACH_1(vreinterpretq_s32_u8, x);
}
RILL_INLINE B64 AddB(B64 x, B64 y) {
  return RILL_EACH_2(vaddq_u8, x, y);
}
RILL_INLINE B64 SubB(B64 x, B64 y) {
  return RILL_EACH_2(vsubq_u8, x, y);
}
RILL_INLINE B64 AndB(B64 x, uint8_t mask) {
  const uint8x16_t m = vdupq_n_u8(mask);
  return RILL_EACH_1N(vandq_u8, x, m);
}
RILL_INLINE B64 OrB(B64 x, B64 y) {
  return RILL_EACH_2(vorrq_u8, x, y);
}
// Bytes are shifted alone: a mask of all that is left needs no instruction.
template <int n>
RILL_INLINE B64 ShrAndB(B64 x, uint8_t mask) {
  if constexpr (n > 0) x = RILL_EACH_1N(vshrq_n_u8, x, n);
  return mask == 255 >> n ? x : AndB(x, mask);
}
template <int n>
RILL_INLINE B64 ShlAndB(B64 x, uint8_t mask) {
  if constexpr (n > 0) x = RILL_EACH_1N(vshlq_n_u8, x, n);
  return AndB(x, mask);
}
RILL_INLINE B64 LookupB(const uint8_t* table16, B64 index) {
  const uint8x16_t table = vld1q_u8(table16);
  return {vqtbl1q_u8(table, index.a), vqtbl1q_u8(table, index.b), vqtbl1q_u8(table, index.c),
          vqtbl1q_u8(table, index.d)};
}
template <int j>
RILL_INLINE I32 ByteS(B64 x) {
  I32 r = AsLanes(x);
  if constexpr (j < 3) r = ShlI<24 - 8 * j>(r);
  return SraI<24>(r);
}
template <int j>
RILL_INLINE I32 ByteTop(B64 x) {
  I32 r = AsLanes(x);
  if constexpr (j < 3) r = ShlI<24 - 8 * j>(r);
  return j == 0 ? r : AndI(r, SetI(INT32_MIN >> 7));
}
template <int j>
RILL_INLINE uint32x4_t ByteU4(uint8x16_t x) {
  uint32x4_t r = vreinterpretq_u32_u8(x);
  if constexpr (j > 0) r = vshrq_n_u32(r, 8 * j);
  return j == 3 ? r : vandq_u32(r, vdupq_n_u32(255));
}
template <int j>
RILL_INLINE I32 ByteU(B64 x) {
  return {vreinterpretq_s32_u32(ByteU4<j>(x.a)), vreinterpretq_s32_u32(ByteU4<j>(x.b)),
          vreinterpretq_s32_u32(ByteU4<j>(x.c)), vreinterpretq_s32_u32(ByteU4<j>(x.d))};
}

RILL_INLINE int8x16_t Broadcast4(const int8_t* x) {
  int32_t quad;
  __builtin_memcpy(&quad, x, 4);
  return vreinterpretq_s8_s32(vdupq_n_s32(quad));
}
RILL_INLINE B64 AbsB(B64 w) {
  return w;
}
#if RILL_DOT
// Codes without a sign are below 64 here: signed products serve both.
RILL_INLINE int32x4_t Dot4(int32x4_t acc, uint8x16_t w, int8x16_t x) {
  return vdotq_s32(acc, vreinterpretq_s8_u8(w), x);
}
RILL_INLINE I32 DotS(I32 acc, B64, B64 w, const int8_t* x) {
  const int8x16_t quad = Broadcast4(x);
  return {Dot4(acc.a, w.a, quad), Dot4(acc.b, w.b, quad), Dot4(acc.c, w.c, quad),
          Dot4(acc.d, w.d, quad)};
}
using DotAcc = I32;
RILL_INLINE DotAcc StartDot(I32 dots) {
  return dots;
}
template <bool long_run>
RILL_INLINE DotAcc DotU(DotAcc acc, B64 w, const int8_t* x) {
  return DotS(acc, w, w, x);
}
RILL_INLINE I32 FinishDot(I32, DotAcc acc) {
  return acc;
}
#else
// Products are added in 16 bits, each place by itself: register r of B64 has two of them.
struct Products {
  int16x8_t low, high;
};
struct DotAcc {
  Products a, b, c, d;
};
RILL_INLINE DotAcc StartDot(I32) {
  const int16x8_t zero = vdupq_n_s16(0);
  return {{zero, zero}, {zero, zero}, {zero, zero}, {zero, zero}};
}
RILL_INLINE Products Multiply4(Products acc, uint8x16_t w, int8x16_t x) {
  const int8x16_t codes = vreinterpretq_s8_u8(w);
  return {vmlal_s8(acc.low, vget_low_s8(codes), vget_low_s8(x)), vmlal_high_s8(acc.high, codes, x)};
}
template <bool long_run>
RILL_INLINE DotAcc DotU(DotAcc acc, B64 w, const int8_t* x) {
  const int8x16_t quad = Broadcast4(x);
  return {Multiply4(acc.a, w.a, quad), Multiply4(acc.b, w.b, quad), Multiply4(acc.c, w.c, quad),
          Multiply4(acc.d, w.d, quad)};
}
// dots + the four products of each row.
RILL_INLINE int32x4_t AddProducts4(int32x4_t dots, Products p) {
  return vaddq_s32(dots, vpaddq_s32(vpaddlq_s16(p.low), vpaddlq_s16(p.high)));
}
RILL_INLINE I32 FinishDot(I32 dots, DotAcc acc) {
  return RILL_EACH_2(AddProducts4, dots, acc);
}
// Two products of signed bytes fit 16 bits: 2 * 128 * 127 = 32512.
RILL_INLINE int32x4_t Dot4(int32x4_t acc, uint8x16_t w, int8x16_t x) {
  const int8x16_t codes = vreinterpretq_s8_u8(w);
  const int16x8_t low = vmull_s8(vget_low_s8(codes), vget_low_s8(x));
  return vpadalq_s16(acc, vpaddq_s16(low, vmull_high_s8(codes, x)));
}
RILL_INLINE I32 DotS(I32 acc, B64, B64 w, const int8_t* x) {
  const int8x16_t quad = Broadcast4(x);
  return {Dot4(acc.a, w.a, quad), Dot4(acc.b, w.b, quad), Dot4(acc.c, w.c, quad),
          Dot4(acc.d, w.d, quad)};
}
#endif

inline constexpr bool kHasLookup16 = false;
template <int shift>
RILL_INLINE V16 Lookup16(V16 table, B64) {
  return table;
}

RILL_INLINE void Prefetch(const void* p) {
  __builtin_prefetch(p, 0, 3);
}

// Widest tile of query rows of attention.
inline constexpr int kTile = 6;
// Tiles of tokens of the matrix kernels, and panels that they take at once. Wider integer tiles
// spill f32 sums and gain nothing: instructions a token and 32 k at 2, 4, 6 tokens (3 for smlal):
// smlal 196, -, 212; sdot -, 114, 128; smmla -, 83, 87.
#if RILL_I8MM
inline constexpr IntegerDot kIntegerDot = IntegerDot::kRowPairs;
#else
inline constexpr IntegerDot kIntegerDot = RILL_DOT ? IntegerDot::kSignedQuad : IntegerDot::kSingles;
#endif
inline constexpr int kTileQ8 = RILL_DOT ? 4 : 2, kTileSteps = 2, kPackedStep = 0;
inline constexpr bool kPackedHalves = false;
inline constexpr int kWorkPanels = 1;
// Not measured.
inline constexpr int kLaneTokens = 0;
inline constexpr int kGemvQ8Width = RILL_DOT ? 4 : 2;
inline constexpr int kTileF32 = 6, kTileF32Panels = 1;
// Registers of a vector of 16 floats, and f32 tiles whose panels are decoded in registers.
inline constexpr int kV16Registers = 4;
inline constexpr int kFewPlainTile = 4;
// Six tokens leave no registers for what is decoded. Not measured.
inline constexpr int64_t kFewPlainTokens = 2 * kFewPlainTile;
inline constexpr int kPrefetchBytes = 1024, kAheadBytes = 2048;
// Panels that are decoded at once for one token: the four registers of one are four chains of
// additions, with the decoding of the next k between them (four panels: 36 KB of code a format, 4
// times the compiler's time).
inline constexpr int kOneTokenPanels = 1;

template <int n>
RILL_INLINE int32x4_t SwapLanes4(int32x4_t x) {
  return n == 2 ? vextq_s32(x, x, 2) : vrev64q_s32(x);
}
template <int n>
RILL_INLINE I32 SwapLanes(I32 x) {
  if constexpr (n == 8) {
    return {x.c, x.d, x.a, x.b};
  } else if constexpr (n == 4) {
    return {x.b, x.a, x.d, x.c};
  } else {
    return RILL_EACH_1(SwapLanes4<n>, x);
  }
}
template <int n>
RILL_INLINE V16 LoadF16Few(const uint16_t* p) {
  static_assert(n == 2 || n == 4 || n == 8);
  if constexpr (n == 2) {
    uint16_t few[4] = {};
    __builtin_memcpy(few, p, 4);
    const float32x4_t v = LoadF16x4(few);
    return {v, v, v, v};
  } else {
    const float32x4_t a = LoadF16x4(p), b = n == 8 ? LoadF16x4(p + 4) : a;
    return {a, b, a, b};
  }
}
template <int lane>
RILL_INLINE float32x4_t Spread4(V16 x) {
  return vdupq_laneq_f32(lane < 4 ? x.a : x.b, lane % 4);
}
template <int first, int second>
RILL_INLINE V16 Spread(V16 x) {
  const float32x4_t a = Spread4<first>(x), b = Spread4<second>(x);
  return {a, a, b, b};
}

// n is in the range of int32, or NaN: then so is p.
RILL_INLINE V16 ScaleByPowerOf2(V16 p, V16 n) {
  // Two factors: the first product is exact.
  const I32 exponent = RILL_EACH_1(vcvtq_s32_f32, n);
  const I32 half = SraI<1>(exponent);
  const V16 scale1 = FromBits(ShlI<23>(AddI(half, SetI(127))));
  const V16 scale2 = FromBits(ShlI<23>(AddI(SubI(exponent, half), SetI(127))));
  return Mul(Mul(p, scale1), scale2);
}
#undef RILL_EACH_1
#undef RILL_EACH_1N
#undef RILL_EACH_2
#undef RILL_EACH_3
