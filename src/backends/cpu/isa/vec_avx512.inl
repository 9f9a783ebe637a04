// The vector type of the kernels on AVX-512 F + BW + DQ + VL: one zmm. Same operations and bits as
// isa/vec_scalar.inl, which says what each one means. RILL_VNNI selects vpdpbusd.

struct V16 {
  __m512 v;
};
struct I32 {
  __m512i v;
};
struct M16 {
  __mmask16 v;
};
struct B64 {
  __m512i v;
};

RILL_INLINE V16 Set(float x) {
  return {_mm512_set1_ps(x)};
}
RILL_INLINE V16 Load(const float* p) {
  return {_mm512_loadu_ps(p)};
}
RILL_INLINE void Store(float* p, V16 a) {
  _mm512_storeu_ps(p, a.v);
}
#define RILL_HAS_LANES_N
// The first n <= 16 elements, zeros behind. Under masks: GCC makes `rep movs` of a loop that copies
// them, which took 70 % of Quantize's time.
RILL_INLINE __mmask16 FirstLanes(int64_t n) {
  return static_cast<__mmask16>((1u << n) - 1);
}
RILL_INLINE V16 LoadN(const float* p, int64_t n) {
  return {_mm512_maskz_loadu_ps(FirstLanes(n), p)};
}
RILL_INLINE void StorePast(float* p, V16 a) {
  _mm512_stream_ps(p, a.v);
}
inline void EndStoresPast() {
  _mm_sfence();
}
RILL_INLINE void StoreN(float* p, V16 a, int64_t n) {
  _mm512_mask_storeu_ps(p, FirstLanes(n), a.v);
}
RILL_INLINE V16 Add(V16 a, V16 b) {
  return {_mm512_add_ps(a.v, b.v)};
}
RILL_INLINE V16 Sub(V16 a, V16 b) {
  return {_mm512_sub_ps(a.v, b.v)};
}
RILL_INLINE V16 Mul(V16 a, V16 b) {
  return {_mm512_mul_ps(a.v, b.v)};
}
RILL_INLINE V16 Div(V16 a, V16 b) {
  return {_mm512_div_ps(a.v, b.v)};
}
RILL_INLINE V16 Fma(V16 a, V16 b, V16 c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
RILL_INLINE V16 Fnma(V16 a, V16 b, V16 c) {
  return {_mm512_fnmadd_ps(a.v, b.v, c.v)};
}
RILL_INLINE V16 Max(V16 a, V16 b) {
  return {_mm512_max_ps(a.v, b.v)};
}
RILL_INLINE V16 Min(V16 a, V16 b) {
  return {_mm512_min_ps(a.v, b.v)};
}
RILL_INLINE V16 Round(V16 a) {
  const V16 magic = Set(12582912.0f);
  return Sub(Add(a, magic), magic);
}
RILL_INLINE I32 ToInt(V16 a) {
  return {_mm512_cvttps_epi32(a.v)};
}
RILL_INLINE V16 ToFloat(I32 a) {
  return {_mm512_cvtepi32_ps(a.v)};
}
RILL_INLINE I32 Bits(V16 a) {
  return {_mm512_castps_si512(a.v)};
}
RILL_INLINE V16 FromBits(I32 a) {
  return {_mm512_castsi512_ps(a.v)};
}
RILL_INLINE I32 SetI(int32_t x) {
  return {_mm512_set1_epi32(x)};
}
RILL_INLINE I32 LoadI(const int32_t* p) {
  return {_mm512_loadu_si512(p)};
}
RILL_INLINE void StoreI(int32_t* p, I32 a) {
  _mm512_storeu_si512(p, a.v);
}
RILL_INLINE I32 AddI(I32 a, I32 b) {
  return {_mm512_add_epi32(a.v, b.v)};
}
RILL_INLINE I32 SubI(I32 a, I32 b) {
  return {_mm512_sub_epi32(a.v, b.v)};
}
RILL_INLINE I32 AndI(I32 a, I32 b) {
  return {_mm512_and_si512(a.v, b.v)};
}
RILL_INLINE I32 OrI(I32 a, I32 b) {
  return {_mm512_or_si512(a.v, b.v)};
}
RILL_INLINE I32 MaxI(I32 a, I32 b) {
  return {_mm512_max_epi32(a.v, b.v)};
}
template <int n>
RILL_INLINE I32 ShlI(I32 a) {
  return {_mm512_slli_epi32(a.v, n)};
}
template <int n>
RILL_INLINE I32 SraI(I32 a) {
  return {_mm512_srai_epi32(a.v, n)};
}
RILL_INLINE M16 Lt(V16 a, V16 b) {
  return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)};
}
RILL_INLINE M16 LtI(I32 a, I32 b) {
  return {_mm512_cmplt_epi32_mask(a.v, b.v)};
}
RILL_INLINE bool All(M16 m) {
  return m.v == 0xFFFF;
}
RILL_INLINE V16 Select(M16 m, V16 yes, V16 no) {
  return {_mm512_mask_blend_ps(m.v, no.v, yes.v)};
}
RILL_INLINE __m256 Low(__m512 v) {
  return _mm512_castps512_ps256(v);
}
RILL_INLINE __m256 High(__m512 v) {
  return _mm512_extractf32x8_ps(v, 1);
}
RILL_INLINE float ReduceAdd(V16 a) {
  const __m256 r8 = _mm256_add_ps(Low(a.v), High(a.v));
  __m128 r4 = _mm_add_ps(_mm256_castps256_ps128(r8), _mm256_extractf128_ps(r8, 1));
  r4 = _mm_add_ps(r4, _mm_movehl_ps(r4, r4));
  r4 = _mm_add_ss(r4, _mm_movehdup_ps(r4));
  return _mm_cvtss_f32(r4);
}
RILL_INLINE float ReduceMax(V16 a) {
  const __m256 r8 = _mm256_max_ps(Low(a.v), High(a.v));
  __m128 r4 = _mm_max_ps(_mm256_castps256_ps128(r8), _mm256_extractf128_ps(r8, 1));
  r4 = _mm_max_ps(r4, _mm_movehl_ps(r4, r4));
  r4 = _mm_max_ss(r4, _mm_movehdup_ps(r4));
  return _mm_cvtss_f32(r4);
}
RILL_INLINE int32_t ReduceMaxI(I32 a) {
  return _mm512_reduce_max_epi32(a.v);
}
RILL_INLINE int32_t ReduceAddI(I32 a) {
  return _mm512_reduce_add_epi32(a.v);
}
// Lane i: the lanes of v[i] reduced; for operations where the order does not matter.
template <typename Op>
RILL_INLINE I32 ReduceEach(const I32* v) {
  __m512i r[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    r[i] = Op::Apply({_mm512_shuffle_i32x4(v[i].v, v[i + 8].v, 0x44)},
                     {_mm512_shuffle_i32x4(v[i].v, v[i + 8].v, 0xEE)})
               .v;
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    r[i] = Op::Apply({_mm512_shuffle_i32x4(r[i], r[i + 4], 0x88)},
                     {_mm512_shuffle_i32x4(r[i], r[i + 4], 0xDD)})
               .v;
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    r[i] =
        Op::Apply({_mm512_unpacklo_epi64(r[i], r[i + 2])}, {_mm512_unpackhi_epi64(r[i], r[i + 2])})
            .v;
  }
  const __m512 a = _mm512_castsi512_ps(r[0]), b = _mm512_castsi512_ps(r[1]);
  const I32 mixed = Op::Apply({_mm512_castps_si512(_mm512_shuffle_ps(a, b, 0x88))},
                              {_mm512_castps_si512(_mm512_shuffle_ps(a, b, 0xDD))});
  const __m512i order = _mm512_setr_epi32(0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15);
  return {_mm512_permutexvar_epi32(order, mixed.v)};
}
// Lane t < T: the lanes of v[t] reduced in the order of ReduceAdd; other lanes hold anything.
template <int T, typename Op>
RILL_INLINE V16 ReduceRows(const V16* v) {
  static_assert(T <= 8);
  __m512 r[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512 a = v[i < T ? i : 0].v, b = v[i + 4 < T ? i + 4 : 0].v;
    r[i] = Op::Apply(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    r[i] = Op::Apply(_mm512_shuffle_f32x4(r[i], r[i + 2], 0x88),
                     _mm512_shuffle_f32x4(r[i], r[i + 2], 0xDD));
  }
  const __m512d x = _mm512_castps_pd(r[0]), y = _mm512_castps_pd(r[1]);
  const __m512 pairs = Op::Apply(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)),
                                 _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
  const __m512 each = Op::Apply(_mm512_moveldup_ps(pairs), _mm512_movehdup_ps(pairs));
  const __m512i order = _mm512_setr_epi32(0, 2, 8, 10, 4, 6, 12, 14, 0, 0, 0, 0, 0, 0, 0, 0);
  return {_mm512_permutexvar_ps(order, each)};
}
#define RILL_HAS_REDUCE_ROWS 1
struct LargerOfLanes {
  static RILL_INLINE __m512 Apply(__m512 a, __m512 b) { return _mm512_max_ps(a, b); }
};
struct SumOfLanes {
  static RILL_INLINE __m512 Apply(__m512 a, __m512 b) { return _mm512_add_ps(a, b); }
};
template <int T>
RILL_INLINE V16 ReduceMaxRows(const V16* v) {
  return ReduceRows<T, LargerOfLanes>(v);
}
template <int T>
RILL_INLINE V16 ReduceAddRows(const V16* v) {
  return ReduceRows<T, SumOfLanes>(v);
}
RILL_INLINE __m128i Load128(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}
RILL_INLINE __m256i Load256(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
RILL_INLINE V16 LoadF16(const uint16_t* p) {
  return {_mm512_cvtph_ps(Load256(p))};
}
RILL_INLINE V16 LoadBf16(const uint16_t* p) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(Load256(p)), 16))};
}
RILL_INLINE void StoreF16(uint16_t* p, V16 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
RILL_INLINE I32 LoadU8(const uint8_t* p) {
  return {_mm512_cvtepu8_epi32(Load128(p))};
}
RILL_INLINE I32 LoadS8(const uint8_t* p) {
  return {_mm512_cvtepi8_epi32(Load128(p))};
}
RILL_INLINE void StoreS8(int8_t* p, I32 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a.v));
}

// Quad q, of 8, of four tokens side by side at p + q * stride; a, b: 16 codes each of a token.
inline constexpr bool kStoresFours = true;
RILL_INLINE void StoreFour(int8_t* p, int64_t stride, const I32* a, const I32* b) {
  __m512i pair[2];  // 128 bits j: quads j and 4 + j of a token, then of the next
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    pair[i] = _mm512_packs_epi16(_mm512_packs_epi32(a[2 * i].v, b[2 * i].v),
                                 _mm512_packs_epi32(a[2 * i + 1].v, b[2 * i + 1].v));
  }
  const __m512 x = _mm512_castsi512_ps(pair[0]), y = _mm512_castsi512_ps(pair[1]);
  const __m512i low = _mm512_castps_si512(_mm512_shuffle_ps(x, y, 0x88));
  const __m512i high = _mm512_castps_si512(_mm512_shuffle_ps(x, y, 0xDD));
  const auto store = [p, stride](int64_t q, __m128i v) __attribute__((always_inline)) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + q * stride), v);
  };
  store(0, _mm512_castsi512_si128(low));
  store(1, _mm512_extracti32x4_epi32(low, 1));
  store(2, _mm512_extracti32x4_epi32(low, 2));
  store(3, _mm512_extracti32x4_epi32(low, 3));
  store(4, _mm512_castsi512_si128(high));
  store(5, _mm512_extracti32x4_epi32(high, 1));
  store(6, _mm512_extracti32x4_epi32(high, 2));
  store(7, _mm512_extracti32x4_epi32(high, 3));
}

RILL_INLINE B64 LoadB(const uint8_t* p) {
  return {_mm512_loadu_si512(p)};
}
RILL_INLINE void StoreB(uint8_t* p, B64 a) {
  _mm512_storeu_si512(p, a.v);
}
RILL_INLINE B64 AsBytes(I32 a) {
  return {a.v};
}
RILL_INLINE B64 AddB(B64 a, B64 b) {
  return {_mm512_add_epi8(a.v, b.v)};
}
RILL_INLINE B64 SubB(B64 a, B64 b) {
  return {_mm512_sub_epi8(a.v, b.v)};
}
RILL_INLINE B64 AndB(B64 a, uint8_t mask) {
  return {_mm512_and_si512(a.v, _mm512_set1_epi8(static_cast<char>(mask)))};
}
RILL_INLINE B64 OrB(B64 a, B64 b) {
  return {_mm512_or_si512(a.v, b.v)};
}
template <int n>
RILL_INLINE B64 ShrAndB(B64 a, uint8_t mask) {
  return AndB({_mm512_srli_epi16(a.v, n)}, mask);
}
template <int n>
RILL_INLINE B64 ShlAndB(B64 a, uint8_t mask) {
  return AndB({_mm512_slli_epi16(a.v, n)}, mask);
}
RILL_INLINE B64 LookupB(const uint8_t* table16, B64 index) {
  return {_mm512_shuffle_epi8(_mm512_broadcast_i32x4(Load128(table16)), index.v)};
}
template <int j>
RILL_INLINE I32 ByteU(B64 a) {
  return {_mm512_and_si512(_mm512_srli_epi32(a.v, 8 * j), _mm512_set1_epi32(255))};
}
template <int j>
RILL_INLINE I32 ByteS(B64 a) {
  return {_mm512_srai_epi32(_mm512_slli_epi32(a.v, 24 - 8 * j), 24)};
}

template <int j>
RILL_INLINE I32 ByteTop(B64 a) {
  return {_mm512_and_si512(_mm512_slli_epi32(a.v, 24 - 8 * j), _mm512_set1_epi32(INT32_MIN >> 7))};
}

RILL_INLINE __m512i Broadcast4(const int8_t* a) {
  int32_t quad;
  __builtin_memcpy(&quad, a, 4);
  return _mm512_set1_epi32(quad);
}
#if RILL_VNNI
using DotAcc = I32;
RILL_INLINE DotAcc StartDot(I32 dots) {
  return dots;
}
template <bool long_run>
RILL_INLINE DotAcc DotU(DotAcc acc, B64 w, const int8_t* a) {
  return {_mm512_dpbusd_epi32(acc.v, w.v, Broadcast4(a))};
}
RILL_INLINE I32 FinishDot(I32, DotAcc acc) {
  return acc;
}
#else
struct DotAcc {
  __m512i v;
};
RILL_INLINE DotAcc StartDot(I32) {
  return {_mm512_setzero_si512()};
}
// Sums that start at value * 2^n in each place; that is below 2^15 in magnitude.
template <int n>
RILL_INLINE DotAcc StartPairs(int32_t value) {
  return {_mm512_slli_epi16(_mm512_set1_epi16(static_cast<int16_t>(value)), n)};
}
// The product stays beside its addition: reassociated, GCC holds every product in memory first (Zen
// 4, 504 tokens, 2048 x 2048, one thread, with sums that start in pairs: q4_0 75 -> 126 GMAC/s).
template <bool long_run>
RILL_INLINE DotAcc DotU(DotAcc acc, B64 w, const int8_t* a) {
  acc.v = _mm512_add_epi16(acc.v, _mm512_maddubs_epi16(w.v, Broadcast4(a)));
  __asm__("" : "+v"(acc.v));
  return acc;
}
RILL_INLINE I32 FinishDot(I32 dots, DotAcc acc) {
  return {_mm512_add_epi32(dots.v, _mm512_madd_epi16(acc.v, _mm512_set1_epi16(1)))};
}
#endif
RILL_INLINE B64 AbsB(B64 w) {
  return {_mm512_abs_epi8(w.v)};
}
// |w| * (a with w's sign); AVX-512 has no vpsignb, so a is negated under the mask of negative w.
RILL_INLINE I32 DotS(I32 acc, B64 w_abs, B64 w, const int8_t* a) {
  const __m512i x = Broadcast4(a);
  const __m512i signed_x =
      _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w.v), _mm512_setzero_si512(), x);
#if RILL_VNNI
  return {_mm512_dpbusd_epi32(acc.v, w_abs.v, signed_x)};
#else
  const __m512i pairs = _mm512_maddubs_epi16(w_abs.v, signed_x);
  return {_mm512_add_epi32(acc.v, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))};
#endif
}

// table[low 4 bits of each lane of index >> shift]
inline constexpr bool kHasLookup16 = true;
template <int shift>
RILL_INLINE V16 Lookup16(V16 table, B64 index) {
  if constexpr (shift == 0) return {_mm512_permutexvar_ps(index.v, table.v)};
  return {_mm512_permutexvar_ps(_mm512_srli_epi32(index.v, shift), table.v)};
}

RILL_INLINE void Prefetch(const void* p) {
  __builtin_prefetch(p, 0, 3);
}

// Widest tile of query rows of attention.
inline constexpr int kTile = 6;
// Tiles of tokens of the matrix kernels, and panels that they take at once.
#if RILL_AMX
inline constexpr IntegerDot kIntegerDot = IntegerDot::kTiles;
inline constexpr int kTileQ8 = 16, kTileSteps = 4, kPackedStep = 8;
inline constexpr bool kPackedHalves = false;  // it loses there
inline constexpr int kWorkPanels = 1;
#else
inline constexpr IntegerDot kIntegerDot = RILL_VNNI ? IntegerDot::kQuad : IntegerDot::kPairs;
inline constexpr int kTileQ8 = 12, kTileSteps = 3, kPackedStep = 4;
inline constexpr bool kPackedHalves = true;
inline constexpr int kWorkPanels = RILL_VNNI ? 2 : 1;
#endif
// A step cut for two threads (model/lanes.h): measured on Zen 5, not on the tile unit.
inline constexpr int kLaneTokens = RILL_AMX ? 0 : 8;
inline constexpr int kGemvQ8Width = 4;
inline constexpr int kTileF32 = 12, kTileF32Panels = 2;
// Registers of a vector of 16 floats, and f32 tiles whose panels are decoded in registers.
inline constexpr int kV16Registers = 1;
inline constexpr int kFewPlainTile = 12;
// Any number of tiles: 256 sequences of a 1.1B in f16 on a Zen 4 98 tokens/s, by way of f32 panels
// 79, which is 0.7 of the rate of multiply-adds (0.6 on a Sapphire Rapids, where widening has their
// ports and leaves 0.86).
inline constexpr int64_t kFewPlainTokens = INT64_MAX;
inline constexpr int kOneTokenPanels = 4;  // that are decoded at once for one token
inline constexpr int kPrefetchBytes = 1536, kAheadBytes = 6144;

template <int n>
RILL_INLINE I32 SwapLanes(I32 a) {
  if constexpr (n == 8) {
    return {_mm512_shuffle_i32x4(a.v, a.v, 0x4E)};
  } else if constexpr (n == 4) {
    return {_mm512_shuffle_i32x4(a.v, a.v, 0xB1)};
  } else {
    return {_mm512_shuffle_epi32(a.v, n == 2 ? _MM_PERM_BADC : _MM_PERM_CDAB)};
  }
}
template <int n>
RILL_INLINE V16 LoadF16Few(const uint16_t* p) {
  static_assert(n == 2 || n == 4 || n == 8);
  __m128i few = _mm_setzero_si128();
  __builtin_memcpy(&few, p, n * 2);
  return {_mm512_castps256_ps512(_mm256_cvtph_ps(few))};
}
template <int a, int b>
RILL_INLINE V16 Spread(V16 x) {
  return {_mm512_permutexvar_ps(_mm512_setr_epi32(a, a, a, a, a, a, a, a, b, b, b, b, b, b, b, b),
                                x.v)};
}

// Registers that attention may fill with accumulators; with more of them GCC spills.
#define RILL_ACCUMULATORS 16
#define RILL_HAS_SCALEF 1
RILL_INLINE V16 ScaleByPowerOf2(V16 p, V16 n) {
  return {_mm512_scalef_ps(p.v, n.v)};
}
