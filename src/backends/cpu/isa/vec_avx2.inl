// The vector type of the kernels on AVX2 + FMA + F16C: two ymm. Same operations and bits as
// isa/vec_scalar.inl, which says what each one means.

struct V16 {
  __m256 lo, hi;
};
struct I32 {
  __m256i lo, hi;
};
struct M16 {
  __m256 lo, hi;
};
struct B64 {
  __m256i lo, hi;
};

RILL_INLINE V16 Set(float x) {
  return {_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
RILL_INLINE V16 Load(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
RILL_INLINE void Store(float* p, V16 a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
RILL_INLINE void StorePast(float* p, V16 a) {
  _mm256_stream_ps(p, a.lo);
  _mm256_stream_ps(p + 8, a.hi);
}
inline void EndStoresPast() {
  _mm_sfence();
}
RILL_INLINE V16 Add(V16 a, V16 b) {
  return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}
RILL_INLINE V16 Sub(V16 a, V16 b) {
  return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}
RILL_INLINE V16 Mul(V16 a, V16 b) {
  return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}
RILL_INLINE V16 Div(V16 a, V16 b) {
  return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}
RILL_INLINE V16 Fma(V16 a, V16 b, V16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
RILL_INLINE V16 Fnma(V16 a, V16 b, V16 c) {
  return {_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)};
}
RILL_INLINE V16 Max(V16 a, V16 b) {
  return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}
RILL_INLINE V16 Min(V16 a, V16 b) {
  return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}
RILL_INLINE V16 Round(V16 a) {
  const V16 magic = Set(12582912.0f);
  return Sub(Add(a, magic), magic);
}
RILL_INLINE I32 ToInt(V16 a) {
  return {_mm256_cvttps_epi32(a.lo), _mm256_cvttps_epi32(a.hi)};
}
RILL_INLINE V16 ToFloat(I32 a) {
  return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)};
}
RILL_INLINE I32 Bits(V16 a) {
  return {_mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi)};
}
RILL_INLINE V16 FromBits(I32 a) {
  return {_mm256_castsi256_ps(a.lo), _mm256_castsi256_ps(a.hi)};
}
RILL_INLINE I32 SetI(int32_t x) {
  return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
RILL_INLINE I32 LoadI(const int32_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 8))};
}
RILL_INLINE void StoreI(int32_t* p, I32 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.lo);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), a.hi);
}
RILL_INLINE I32 AddI(I32 a, I32 b) {
  return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
}
RILL_INLINE I32 SubI(I32 a, I32 b) {
  return {_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)};
}
RILL_INLINE I32 AndI(I32 a, I32 b) {
  return {_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)};
}
RILL_INLINE I32 OrI(I32 a, I32 b) {
  return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)};
}
RILL_INLINE I32 MaxI(I32 a, I32 b) {
  return {_mm256_max_epi32(a.lo, b.lo), _mm256_max_epi32(a.hi, b.hi)};
}
template <int n>
RILL_INLINE I32 ShlI(I32 a) {
  return {_mm256_slli_epi32(a.lo, n), _mm256_slli_epi32(a.hi, n)};
}
template <int n>
RILL_INLINE I32 SraI(I32 a) {
  return {_mm256_srai_epi32(a.lo, n), _mm256_srai_epi32(a.hi, n)};
}
RILL_INLINE M16 Lt(V16 a, V16 b) {
  return {_mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ)};
}
RILL_INLINE M16 LtI(I32 a, I32 b) {
  return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(b.lo, a.lo)),
          _mm256_castsi256_ps(_mm256_cmpgt_epi32(b.hi, a.hi))};
}
RILL_INLINE bool All(M16 m) {
  return _mm256_movemask_ps(_mm256_and_ps(m.lo, m.hi)) == 0xFF;
}
RILL_INLINE V16 Select(M16 m, V16 yes, V16 no) {
  return {_mm256_blendv_ps(no.lo, yes.lo, m.lo), _mm256_blendv_ps(no.hi, yes.hi, m.hi)};
}
RILL_INLINE float ReduceAdd(V16 a) {
  const __m256 r8 = _mm256_add_ps(a.lo, a.hi);
  __m128 r4 = _mm_add_ps(_mm256_castps256_ps128(r8), _mm256_extractf128_ps(r8, 1));
  r4 = _mm_add_ps(r4, _mm_movehl_ps(r4, r4));
  r4 = _mm_add_ss(r4, _mm_movehdup_ps(r4));
  return _mm_cvtss_f32(r4);
}
RILL_INLINE float ReduceMax(V16 a) {
  const __m256 r8 = _mm256_max_ps(a.lo, a.hi);
  __m128 r4 = _mm_max_ps(_mm256_castps256_ps128(r8), _mm256_extractf128_ps(r8, 1));
  r4 = _mm_max_ps(r4, _mm_movehl_ps(r4, r4));
  r4 = _mm_max_ss(r4, _mm_movehdup_ps(r4));
  return _mm_cvtss_f32(r4);
}
RILL_INLINE int32_t ReduceMaxI(I32 a) {
  const __m256i r8 = _mm256_max_epi32(a.lo, a.hi);
  __m128i r4 = _mm_max_epi32(_mm256_castsi256_si128(r8), _mm256_extracti128_si256(r8, 1));
  r4 = _mm_max_epi32(r4, _mm_shuffle_epi32(r4, 0x4E));
  r4 = _mm_max_epi32(r4, _mm_shuffle_epi32(r4, 0xB1));
  return _mm_cvtsi128_si32(r4);
}
RILL_INLINE int32_t ReduceAddI(I32 a) {
  const __m256i r8 = _mm256_add_epi32(a.lo, a.hi);
  __m128i r4 = _mm_add_epi32(_mm256_castsi256_si128(r8), _mm256_extracti128_si256(r8, 1));
  r4 = _mm_add_epi32(r4, _mm_shuffle_epi32(r4, 0x4E));
  r4 = _mm_add_epi32(r4, _mm_shuffle_epi32(r4, 0xB1));
  return _mm_cvtsi128_si32(r4);
}
// Lane i: the lanes of v[i] reduced; for operations where the order does not matter.
template <typename Op>
RILL_INLINE I32 ReduceEach(const I32* v) {
  alignas(64) int32_t lane[16];
  for (int i = 0; i < 16; ++i) lane[i] = Op::Reduce(v[i]);
  return LoadI(lane);
}
RILL_INLINE __m128i Load128(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}
RILL_INLINE V16 LoadF16(const uint16_t* p) {
  return {_mm256_cvtph_ps(Load128(p)), _mm256_cvtph_ps(Load128(p + 8))};
}
RILL_INLINE V16 LoadBf16(const uint16_t* p) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(Load128(p)), 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(Load128(p + 8)), 16))};
}
RILL_INLINE void StoreF16(uint16_t* p, V16 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8),
                   _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT));
}
RILL_INLINE I32 LoadU8(const uint8_t* p) {
  const __m128i v = Load128(p);
  return {_mm256_cvtepu8_epi32(v), _mm256_cvtepu8_epi32(_mm_srli_si128(v, 8))};
}
RILL_INLINE I32 LoadS8(const uint8_t* p) {
  const __m128i v = Load128(p);
  return {_mm256_cvtepi8_epi32(v), _mm256_cvtepi8_epi32(_mm_srli_si128(v, 8))};
}
RILL_INLINE void StoreS8(int8_t* p, I32 a) {
  const __m256i pick =
      _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1,
                       -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
  const __m256i lo = _mm256_shuffle_epi8(a.lo, pick);
  const __m256i hi = _mm256_shuffle_epi8(a.hi, pick);
  const __m128i lo8 =
      _mm_unpacklo_epi32(_mm256_castsi256_si128(lo), _mm256_extracti128_si256(lo, 1));
  const __m128i hi8 =
      _mm_unpacklo_epi32(_mm256_castsi256_si128(hi), _mm256_extracti128_si256(hi, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_unpacklo_epi64(lo8, hi8));
}

inline constexpr bool kStoresFours = false;
RILL_INLINE void StoreFour(int8_t*, int64_t, const I32*, const I32*) {}
RILL_INLINE B64 LoadB(const uint8_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32))};
}
RILL_INLINE void StoreB(uint8_t* p, B64 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.lo);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 32), a.hi);
}
RILL_INLINE B64 AsBytes(I32 a) {
  return {a.lo, a.hi};
}
RILL_INLINE B64 AddB(B64 a, B64 b) {
  return {_mm256_add_epi8(a.lo, b.lo), _mm256_add_epi8(a.hi, b.hi)};
}
RILL_INLINE B64 SubB(B64 a, B64 b) {
  return {_mm256_sub_epi8(a.lo, b.lo), _mm256_sub_epi8(a.hi, b.hi)};
}
RILL_INLINE B64 AndB(B64 a, uint8_t mask) {
  const __m256i m = _mm256_set1_epi8(static_cast<char>(mask));
  return {_mm256_and_si256(a.lo, m), _mm256_and_si256(a.hi, m)};
}
RILL_INLINE B64 OrB(B64 a, B64 b) {
  return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)};
}
template <int n>
RILL_INLINE B64 ShrAndB(B64 a, uint8_t mask) {
  return AndB({_mm256_srli_epi16(a.lo, n), _mm256_srli_epi16(a.hi, n)}, mask);
}
template <int n>
RILL_INLINE B64 ShlAndB(B64 a, uint8_t mask) {
  return AndB({_mm256_slli_epi16(a.lo, n), _mm256_slli_epi16(a.hi, n)}, mask);
}
RILL_INLINE B64 LookupB(const uint8_t* table16, B64 index) {
  const __m256i table = _mm256_broadcastsi128_si256(Load128(table16));
  return {_mm256_shuffle_epi8(table, index.lo), _mm256_shuffle_epi8(table, index.hi)};
}
template <int j>
RILL_INLINE I32 ByteU(B64 a) {
  const __m256i m = _mm256_set1_epi32(255);
  return {_mm256_and_si256(_mm256_srli_epi32(a.lo, 8 * j), m),
          _mm256_and_si256(_mm256_srli_epi32(a.hi, 8 * j), m)};
}
template <int j>
RILL_INLINE I32 ByteS(B64 a) {
  return {_mm256_srai_epi32(_mm256_slli_epi32(a.lo, 24 - 8 * j), 24),
          _mm256_srai_epi32(_mm256_slli_epi32(a.hi, 24 - 8 * j), 24)};
}

template <int j>
RILL_INLINE I32 ByteTop(B64 a) {
  if constexpr (j == 3) {
    const __m256i m = _mm256_set1_epi32(INT32_MIN >> 7);
    return {_mm256_and_si256(a.lo, m), _mm256_and_si256(a.hi, m)};
  } else {
    const __m256i pick =
        _mm256_setr_epi8(-1, -1, -1, j, -1, -1, -1, j + 4, -1, -1, -1, j + 8, -1, -1, -1, j + 12,
                         -1, -1, -1, j, -1, -1, -1, j + 4, -1, -1, -1, j + 8, -1, -1, -1, j + 12);
    return {_mm256_shuffle_epi8(a.lo, pick), _mm256_shuffle_epi8(a.hi, pick)};
  }
}

RILL_INLINE __m256i Broadcast4(const int8_t* a) {
  int32_t quad;
  __builtin_memcpy(&quad, a, 4);
  return _mm256_set1_epi32(quad);
}
#if RILL_VNNI
using DotAcc = I32;
RILL_INLINE DotAcc StartDot(I32 dots) {
  return dots;
}
template <bool long_run>
RILL_INLINE DotAcc DotU(DotAcc acc, B64 w, const int8_t* a) {
  const __m256i x = Broadcast4(a);
  return {_mm256_dpbusd_avx_epi32(acc.lo, w.lo, x), _mm256_dpbusd_avx_epi32(acc.hi, w.hi, x)};
}
RILL_INLINE I32 FinishDot(I32, DotAcc acc) {
  return acc;
}
#else
// vpmaddubsw sums pairs into 16 bits; pairs are added there and widened once at the end.
struct DotAcc {
  __m256i lo, hi;
};
RILL_INLINE DotAcc StartDot(I32) {
  return {_mm256_setzero_si256(), _mm256_setzero_si256()};
}
// Sums that start at value * 2^n in each place; that is below 2^15 in magnitude.
template <int n>
RILL_INLINE DotAcc StartPairs(int32_t value) {
  const __m256i v = _mm256_slli_epi16(_mm256_set1_epi16(static_cast<int16_t>(value)), n);
  return {v, v};
}
// long_run, in one statement: 12 sums (6 tokens), two vectors of codes and two of these are the 16
// registers that there are. Left to itself GCC keeps a sum in memory, and each of its additions
// waits for the store of the one before (Zen 4, 504 tokens, 2048 x 2048, one thread: q4_k 104 ->
// 116 GMAC/s, q5_0 104 -> 109; q4_0, whose sums start in pairs besides, 108 -> 124; u4g128 126 ->
// 123). Short runs, of 6 bits, are better off without (90, with it 75). A sanitizer sees no load in
// asm.
#if defined(RILL_SANITIZED)
inline constexpr bool kDotInRegisters = false;
#else
inline constexpr bool kDotInRegisters = true;
#endif
template <bool long_run>
RILL_INLINE DotAcc DotU(DotAcc acc, B64 w, const int8_t* a) {
  if constexpr (long_run && kDotInRegisters) {
    struct __attribute__((may_alias)) Quad {
      int8_t codes[4];
    };
    __m256i x, product;
    __asm__(
        "vpbroadcastd %[a], %[x]\n\t"
        "vpmaddubsw %[x], %[w_lo], %[product]\n\t"
        "vpaddw %[product], %[lo], %[lo]\n\t"
        "vpmaddubsw %[x], %[w_hi], %[x]\n\t"
        "vpaddw %[x], %[hi], %[hi]"
        : [lo] "+&x"(acc.lo), [hi] "+x"(acc.hi), [x] "=&x"(x), [product] "=&x"(product)
        : [w_lo] "x"(w.lo), [w_hi] "x"(w.hi), [a] "m"(*reinterpret_cast<const Quad*>(a)));
  } else {
    const __m256i x = Broadcast4(a);
    acc.lo = _mm256_add_epi16(acc.lo, _mm256_maddubs_epi16(w.lo, x));
    acc.hi = _mm256_add_epi16(acc.hi, _mm256_maddubs_epi16(w.hi, x));
    // Keeps the additions where they are: reassociated, GCC holds every product in memory first.
    __asm__("" : "+x"(acc.lo), "+x"(acc.hi));
  }
  return acc;
}
RILL_INLINE I32 FinishDot(I32 dots, DotAcc acc) {
  const __m256i ones = _mm256_set1_epi16(1);
  return {_mm256_add_epi32(dots.lo, _mm256_madd_epi16(acc.lo, ones)),
          _mm256_add_epi32(dots.hi, _mm256_madd_epi16(acc.hi, ones))};
}
#endif
RILL_INLINE B64 AbsB(B64 w) {
  return {_mm256_abs_epi8(w.lo), _mm256_abs_epi8(w.hi)};
}
// |w| * (a with w's sign): at most 2 * 128 * 127 in 16 bits, so each product is widened at once.
RILL_INLINE I32 DotS(I32 acc, B64 w_abs, B64 w, const int8_t* a) {
  const __m256i x = Broadcast4(a);
  const __m256i ones = _mm256_set1_epi16(1);
  const __m256i lo = _mm256_maddubs_epi16(w_abs.lo, _mm256_sign_epi8(x, w.lo));
  const __m256i hi = _mm256_maddubs_epi16(w_abs.hi, _mm256_sign_epi8(x, w.hi));
  acc.lo = _mm256_add_epi32(acc.lo, _mm256_madd_epi16(lo, ones));
  acc.hi = _mm256_add_epi32(acc.hi, _mm256_madd_epi16(hi, ones));
  __asm__("" : "+x"(acc.lo), "+x"(acc.hi));
  return acc;
}

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
// Tiles of tokens of the matrix kernels, and panels that they take at once.
inline constexpr IntegerDot kIntegerDot = RILL_VNNI ? IntegerDot::kQuad : IntegerDot::kPairs;
inline constexpr int kTileQ8 = 6, kTileSteps = 3, kPackedStep = 2;
inline constexpr bool kPackedHalves = true;
inline constexpr int kWorkPanels = 1;
// A step cut for two threads (model/lanes.h), measured on Zen 5.
inline constexpr int kLaneTokens = 8;
inline constexpr int kGemvQ8Width = 4;
inline constexpr int kTileF32 = 6, kTileF32Panels = 1;
// Registers of a vector of 16 floats, and f32 tiles whose panels are decoded in registers.
inline constexpr int kV16Registers = 2;
inline constexpr int kFewPlainTile = 6;
// Any number of tiles (Zen 4, f16, 2048 x 2048, 256 tokens: 1.14 times as fast).
inline constexpr int64_t kFewPlainTokens = INT64_MAX;
inline constexpr int kOneTokenPanels = 4;  // that are decoded at once for one token
inline constexpr int kPrefetchBytes = 1536, kAheadBytes = 3072;

template <int n>
RILL_INLINE I32 SwapLanes(I32 a) {
  if constexpr (n == 8) {
    return {a.hi, a.lo};
  } else if constexpr (n == 4) {
    return {_mm256_permute2x128_si256(a.lo, a.lo, 1), _mm256_permute2x128_si256(a.hi, a.hi, 1)};
  } else {
    constexpr int kOrder = n == 2 ? 0x4E : 0xB1;
    return {_mm256_shuffle_epi32(a.lo, kOrder), _mm256_shuffle_epi32(a.hi, kOrder)};
  }
}
template <int n>
RILL_INLINE V16 LoadF16Few(const uint16_t* p) {
  static_assert(n == 2 || n == 4 || n == 8);
  __m128i few = _mm_setzero_si128();
  __builtin_memcpy(&few, p, n * 2);
  const __m256 v = _mm256_cvtph_ps(few);
  return {v, v};
}
template <int a, int b>
RILL_INLINE V16 Spread(V16 x) {
  return {_mm256_permutevar8x32_ps(x.lo, _mm256_set1_epi32(a)),
          _mm256_permutevar8x32_ps(x.lo, _mm256_set1_epi32(b))};
}

RILL_INLINE V16 ScaleByPowerOf2(V16 p, V16 n) {
  // Two factors: the first product is exact.
  const I32 exponent = ToInt(n);
  const I32 half = SraI<1>(exponent);
  const V16 scale1 = FromBits(ShlI<23>(AddI(half, SetI(127))));
  const V16 scale2 = FromBits(ShlI<23>(AddI(SubI(exponent, half), SetI(127))));
  return Mul(Mul(p, scale1), scale2);
}
