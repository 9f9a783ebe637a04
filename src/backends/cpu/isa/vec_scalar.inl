// The vector type of the kernels in plain C++: 16 f32 lanes as a compiler vector, lowered to
// whatever the target has.
//
// Included inside the namespace of an ISA (see isa/scalar.cc). This file is the meaning of the
// vector type; isa/vec_avx2.inl and isa/vec_avx512.inl do the same with instructions, bit for bit.

typedef float V16 __attribute__((vector_size(64)));
typedef int32_t I32 __attribute__((vector_size(64)));
typedef uint32_t U32 __attribute__((vector_size(64)));  // where signed overflow could happen
typedef uint8_t U8x64 __attribute__((vector_size(64)));
struct M16 {
  I32 bits;  // all ones or all zeros
};
// 16 rows x 4 consecutive k, one byte each: byte 4 * row + j.
struct B64 {
  U8x64 v;
};

template <typename To, typename From>
RILL_INLINE To BitsAs(From from) {
  return __builtin_bit_cast(To, from);
}

RILL_INLINE V16 Set(float x) {
  return V16{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}
RILL_INLINE V16 Load(const float* p) {
  V16 r;
  __builtin_memcpy(&r, p, 64);
  return r;
}
RILL_INLINE void Store(float* p, V16 a) {
  __builtin_memcpy(p, &a, 64);
}
// Elsewhere without keeping the line in a cache; there p is a multiple of 64 bytes, and other
// threads may see it after EndStoresPast only.
RILL_INLINE void StorePast(float* p, V16 a) {
  Store(p, a);
}
inline void EndStoresPast() {}
RILL_INLINE V16 Add(V16 a, V16 b) {
  return a + b;
}
RILL_INLINE V16 Sub(V16 a, V16 b) {
  return a - b;
}
RILL_INLINE V16 Mul(V16 a, V16 b) {
  return a * b;
}
RILL_INLINE V16 Div(V16 a, V16 b) {
  return a / b;
}
// a * b + c, rounded once: libm's fma, or the instruction where the target has it. Not inlined: a
// call costs little beside 16 of libm's, and keeps the compiler from unrolling it everywhere.
__attribute__((noinline)) void FmaLanes(const float* a, const float* b, const float* c, float* r) {
  for (int i = 0; i < 16; ++i) r[i] = __builtin_fmaf(a[i], b[i], c[i]);
}
RILL_INLINE V16 Fma(V16 a, V16 b, V16 c) {
  alignas(64) float x[16], y[16], z[16];
  Store(x, a);
  Store(y, b);
  Store(z, c);
  FmaLanes(x, y, z, z);
  return Load(z);
}
// c - a * b, rounded once.
RILL_INLINE V16 Fnma(V16 a, V16 b, V16 c) {
  return Fma(-a, b, c);
}
RILL_INLINE V16 Select(M16 m, V16 yes, V16 no) {
  return BitsAs<V16>((m.bits & BitsAs<I32>(yes)) | (~m.bits & BitsAs<I32>(no)));
}
// a > b ? a : b; the second when either is NaN or both are zeros (as maxps does).
RILL_INLINE V16 Max(V16 a, V16 b) {
  return Select(M16{BitsAs<I32>(a > b)}, a, b);
}
RILL_INLINE V16 Min(V16 a, V16 b) {
  return Select(M16{BitsAs<I32>(a < b)}, a, b);
}
// Nearest integer, ties to even; |x| < 2^22.
RILL_INLINE V16 Round(V16 a) {
  const V16 magic = Set(12582912.0f);
  return (a + magic) - magic;
}
RILL_INLINE I32 SetI(int32_t x) {
  return I32{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}
// Of an integral value, |x| < 2^31; INT_MIN otherwise.
RILL_INLINE I32 ToInt(V16 a) {
  const I32 inside = BitsAs<I32>(a >= Set(-2147483648.0f)) & BitsAs<I32>(a < Set(2147483648.0f));
  const V16 safe = BitsAs<V16>(inside & BitsAs<I32>(a));
  return (inside & __builtin_convertvector(safe, I32)) | (~inside & SetI(INT32_MIN));
}
RILL_INLINE V16 ToFloat(I32 a) {
  return __builtin_convertvector(a, V16);
}
RILL_INLINE I32 Bits(V16 a) {
  return BitsAs<I32>(a);
}
RILL_INLINE V16 FromBits(I32 a) {
  return BitsAs<V16>(a);
}
RILL_INLINE I32 LoadI(const int32_t* p) {
  I32 r;
  __builtin_memcpy(&r, p, 64);
  return r;
}
RILL_INLINE void StoreI(int32_t* p, I32 a) {
  __builtin_memcpy(p, &a, 64);
}
RILL_INLINE I32 AddI(I32 a, I32 b) {
  return BitsAs<I32>(BitsAs<U32>(a) + BitsAs<U32>(b));
}
RILL_INLINE I32 SubI(I32 a, I32 b) {
  return BitsAs<I32>(BitsAs<U32>(a) - BitsAs<U32>(b));
}
RILL_INLINE I32 AndI(I32 a, I32 b) {
  return a & b;
}
RILL_INLINE I32 OrI(I32 a, I32 b) {
  return a | b;
}
RILL_INLINE I32 MaxI(I32 a, I32 b) {
  const I32 first = BitsAs<I32>(a > b);
  return (first & a) | (~first & b);
}
template <int n>
RILL_INLINE I32 ShlI(I32 a) {
  return BitsAs<I32>(BitsAs<U32>(a) << n);
}
template <int n>
RILL_INLINE I32 SraI(I32 a) {
  return a >> n;
}
RILL_INLINE M16 Lt(V16 a, V16 b) {
  return {BitsAs<I32>(a < b)};
}
RILL_INLINE bool All(M16 m) {
  int32_t all = -1;
  for (int i = 0; i < 16; ++i) all &= m.bits[i];
  return all != 0;
}
RILL_INLINE M16 LtI(I32 a, I32 b) {
  return {BitsAs<I32>(a < b)};
}
// The canonical tree 16 -> 8 -> 4 -> 2 -> 1: lane j takes lane j + half.
RILL_INLINE float ReduceAdd(V16 a) {
  float lane[16];
  Store(lane, a);
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lane[i] = lane[i] + lane[i + half];
  }
  return lane[0];
}
RILL_INLINE float ReduceMax(V16 a) {
  float lane[16];
  Store(lane, a);
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lane[i] = lane[i] > lane[i + half] ? lane[i] : lane[i + half];
  }
  return lane[0];
}
RILL_INLINE int32_t ReduceMaxI(I32 a) {
  int32_t best = a[0];
  for (int i = 1; i < 16; ++i) best = a[i] > best ? a[i] : best;
  return best;
}
RILL_INLINE int32_t ReduceAddI(I32 a) {
  uint32_t sum = 0;
  for (int i = 0; i < 16; ++i) sum += static_cast<uint32_t>(a[i]);
  return static_cast<int32_t>(sum);
}

// Lane i: the lanes of v[i] reduced; for operations where the order does not matter.
template <typename Op>
RILL_INLINE I32 ReduceEach(const I32* v) {
  alignas(64) int32_t lane[16];
  for (int i = 0; i < 16; ++i) lane[i] = Op::Reduce(v[i]);
  return LoadI(lane);
}
// Conversions from and to narrow elements: loops in functions of their own.
__attribute__((noinline)) void WidenF16(const uint16_t* p, float* r) {
  for (int i = 0; i < 16; ++i) r[i] = F16ToF32(p[i]);
}
__attribute__((noinline)) void NarrowF16(const float* p, uint16_t* r) {
  for (int i = 0; i < 16; ++i) r[i] = F32ToF16(p[i]);
}
RILL_INLINE V16 LoadF16(const uint16_t* p) {
  alignas(64) float r[16];
  WidenF16(p, r);
  return Load(r);
}
RILL_INLINE void StoreF16(uint16_t* p, V16 a) {
  alignas(64) float r[16];
  Store(r, a);
  NarrowF16(r, p);
}
typedef uint16_t U16x16 __attribute__((vector_size(32)));
typedef uint8_t U8x16 __attribute__((vector_size(16)));
typedef int8_t S8x16 __attribute__((vector_size(16)));
RILL_INLINE V16 LoadBf16(const uint16_t* p) {
  U16x16 r;
  __builtin_memcpy(&r, p, 32);
  return BitsAs<V16>(__builtin_convertvector(r, U32) << 16);
}
RILL_INLINE I32 LoadU8(const uint8_t* p) {
  U8x16 r;
  __builtin_memcpy(&r, p, 16);
  return __builtin_convertvector(r, I32);
}
RILL_INLINE I32 LoadS8(const uint8_t* p) {
  S8x16 r;
  __builtin_memcpy(&r, p, 16);
  return __builtin_convertvector(r, I32);
}
// Low byte of each lane.
RILL_INLINE void StoreS8(int8_t* p, I32 a) {
  for (int i = 0; i < 16; ++i) p[i] = static_cast<int8_t>(a[i]);
}

RILL_INLINE U8x64 SetB(uint8_t x) {
  return U8x64{} + x;
}
inline constexpr bool kStoresFours = false;
RILL_INLINE void StoreFour(int8_t*, int64_t, const I32*, const I32*) {}
RILL_INLINE B64 LoadB(const uint8_t* p) {
  B64 r;
  __builtin_memcpy(&r, p, 64);
  return r;
}
RILL_INLINE void StoreB(uint8_t* p, B64 a) {
  __builtin_memcpy(p, &a, 64);
}
RILL_INLINE B64 AsBytes(I32 a) {
  return {BitsAs<U8x64>(a)};
}
RILL_INLINE B64 AddB(B64 a, B64 b) {
  return {a.v + b.v};
}
RILL_INLINE B64 SubB(B64 a, B64 b) {
  return {a.v - b.v};
}
RILL_INLINE B64 AndB(B64 a, uint8_t mask) {
  return {a.v & SetB(mask)};
}
RILL_INLINE B64 OrB(B64 a, B64 b) {
  return {a.v | b.v};
}
// (a >> n) & mask and (a << n) & mask, per byte. Shifted as 32-bit lanes: what crosses a byte must
// lie outside the mask.
template <int n>
RILL_INLINE B64 ShrAndB(B64 a, uint8_t mask) {
  return {BitsAs<U8x64>(BitsAs<U32>(a.v) >> n) & SetB(mask)};
}
template <int n>
RILL_INLINE B64 ShlAndB(B64 a, uint8_t mask) {
  return {BitsAs<U8x64>(BitsAs<U32>(a.v) << n) & SetB(mask)};
}
__attribute__((noinline)) void LookupBytes(const uint8_t* table16, const uint8_t* index,
                                           uint8_t* r) {
  for (int i = 0; i < 64; ++i) r[i] = table16[index[i] & 15];
}
RILL_INLINE B64 LookupB(const uint8_t* table16, B64 index) {
  alignas(64) uint8_t from[64], to[64];
  __builtin_memcpy(from, &index, 64);
  LookupBytes(table16, from, to);
  return LoadB(to);
}
// Byte j of each row, unsigned or signed.
template <int j>
RILL_INLINE I32 ByteU(B64 a) {
  return BitsAs<I32>((BitsAs<U32>(a.v) >> (8 * j)) & 255u);
}
template <int j>
RILL_INLINE I32 ByteS(B64 a) {
  return BitsAs<I32>(BitsAs<U32>(a.v) << (24 - 8 * j)) >> 24;
}

// Byte j of each row times 2^24, signed.
template <int j>
RILL_INLINE I32 ByteTop(B64 a) {
  return BitsAs<I32>((BitsAs<U32>(a.v) << (24 - 8 * j)) & 0xFF000000u);
}

// Integer dot products of 4 bytes a row with 4 broadcast activations, added to `dots`: begun by
// StartDot, in 16 bits on some ISAs (DotQuads() says how many fit), and ended by FinishDot.
using DotAcc = I32;
RILL_INLINE DotAcc StartDot(I32 dots) {
  return dots;
}
template <bool long_run>
RILL_INLINE DotAcc DotU(DotAcc acc, B64 w, const int8_t* a) {
  return acc + ByteU<0>(w) * SetI(a[0]) + ByteU<1>(w) * SetI(a[1]) + ByteU<2>(w) * SetI(a[2]) +
         ByteU<3>(w) * SetI(a[3]);
}
RILL_INLINE I32 FinishDot(I32, DotAcc acc) {
  return acc;
}
// Signed weights; w_abs is what AbsB gave for w.
RILL_INLINE B64 AbsB(B64 w) {
  return w;
}
RILL_INLINE I32 DotS(I32 acc, B64, B64 w, const int8_t* a) {
  return acc + ByteS<0>(w) * SetI(a[0]) + ByteS<1>(w) * SetI(a[1]) + ByteS<2>(w) * SetI(a[2]) +
         ByteS<3>(w) * SetI(a[3]);
}

inline constexpr bool kHasLookup16 = false;
template <int shift>
RILL_INLINE V16 Lookup16(V16 table, B64) {
  return table;
}

RILL_INLINE void Prefetch(const void*) {}

// Widest tile of query rows of attention.
inline constexpr int kTile = 1;
// Tiles of tokens of the matrix kernels (1: wider ones gain nothing here, and take the compiler
// minutes), and panels that they take at once.
inline constexpr IntegerDot kIntegerDot = IntegerDot::kQuad;
inline constexpr int kTileQ8 = 1, kTileSteps = 1, kPackedStep = 0;
inline constexpr bool kPackedHalves = false;
inline constexpr int kWorkPanels = 1;
inline constexpr int kLaneTokens = 0;
inline constexpr int kGemvQ8Width = 1;
inline constexpr int kTileF32 = 1, kTileF32Panels = 1;
// Registers of a vector of 16 floats, and f32 tiles whose panels are decoded in registers.
inline constexpr int kV16Registers = 16;
inline constexpr int kFewPlainTile = 1;
inline constexpr int64_t kFewPlainTokens = 0;
inline constexpr int kOneTokenPanels = 4;  // that are decoded at once for one token
inline constexpr int kPrefetchBytes = 0, kAheadBytes = 0;

// Lane i takes lane i ^ n; n = 1, 2, 4 or 8.
template <int n>
RILL_INLINE I32 SwapLanes(I32 a) {
  I32 r;
  for (int i = 0; i < 16; ++i) r[i] = a[i ^ n];
  return r;
}
// n f16 values in lanes 0 … n - 1; the other lanes hold anything.
template <int n>
RILL_INLINE V16 LoadF16Few(const uint16_t* p) {
  alignas(64) uint16_t few[16] = {};
  __builtin_memcpy(few, p, n * 2);
  return LoadF16(few);
}
// Lane a in lanes 0 … 7, lane b in lanes 8 … 15; a, b < 8.
template <int a, int b>
RILL_INLINE V16 Spread(V16 x) {
  return V16{x[a], x[a], x[a], x[a], x[a], x[a], x[a], x[a],
             x[b], x[b], x[b], x[b], x[b], x[b], x[b], x[b]};
}

// p 2^n of 1/2 < p < 2 and an integral n in [-153, 130], rounded once.
RILL_INLINE V16 ScaleByPowerOf2(V16 p, V16 n) {
  // Two factors: the first product is exact.
  const I32 exponent = ToInt(n);
  const I32 half = SraI<1>(exponent);
  const V16 scale1 = FromBits(ShlI<23>(AddI(half, SetI(127))));
  const V16 scale2 = FromBits(ShlI<23>(AddI(SubI(exponent, half), SetI(127))));
  return Mul(Mul(p, scale1), scale2);
}
