// One key or value as its format stores it (quant/kv_<name>.cc is the meaning), 16 elements at
// once.

// For group sizes 8 and 32: op over the lanes of each 8, or of all 16.
#define RILL_REDUCE_8(op, x)  \
  x = op(x, SwapLanes<4>(x)); \
  x = op(x, SwapLanes<2>(x)); \
  x = op(x, SwapLanes<1>(x));
RILL_INLINE V16 SwapLanesF(V16 x, int n) {
  const I32 bits = Bits(x);
  return FromBits(n == 8   ? SwapLanes<8>(bits)
                  : n == 4 ? SwapLanes<4>(bits)
                  : n == 2 ? SwapLanes<2>(bits)
                           : SwapLanes<1>(bits));
}
RILL_INLINE V16 RoundTripF16(V16 x) {
  alignas(64) uint16_t half[16];
  StoreF16(half, x);
  return LoadF16(half);
}
// The number itself when it is finite, the canonical NaN otherwise.
RILL_INLINE V16 FiniteOrNan(M16 finite, V16 x) {
  return Select(finite, x, FromBits(SetI(0x7FC00000)));
}
RILL_INLINE I32 Magnitude(V16 x) {
  return AndI(Bits(x), SetI(0x7FFFFFFF));
}
RILL_INLINE M16 IsFinite(I32 magnitude) {
  return LtI(magnitude, SetI(0x7F800000));
}

void KvEncodeInt8(const float* x, int64_t dim, uint8_t* out) {
  uint8_t* params = out + dim;
  for (int64_t i = 0; i < dim; i += 16) {
    const int64_t n = dim - i < 16 ? dim - i : 16;
    const V16 v = n == 16 ? Load(x + i) : LoadN(x + i, n);
    I32 m = Magnitude(v);  // as integers NaN > Inf > every number
    RILL_REDUCE_8(MaxI, m)
    V16 scale = RoundTripF16(Max(Div(FromBits(m), Set(127.0f)), Set(1e-5f)));
    scale = FiniteOrNan(IsFinite(MaxI(m, Magnitude(scale))), scale);
    // Max and Min in this order keep NaN, whose code is the low byte of INT_MIN: 0.
    const V16 code = Min(Set(127.0f), Max(Set(-127.0f), Round(Div(v, scale))));
    alignas(64) int8_t codes[16];
    alignas(64) uint16_t scales[16];
    StoreS8(codes, ToInt(code));
    StoreF16(scales, scale);
    __builtin_memcpy(out + i, codes, static_cast<size_t>(n));
    __builtin_memcpy(params + i / 8 * 2, &scales[0], 2);
    if (n > 8) __builtin_memcpy(params + i / 8 * 2 + 2, &scales[8], 2);
  }
}

void KvEncodeInt4(const float* x, int64_t dim, uint8_t* out) {
  uint8_t* params = out + (dim + 31) / 32 * 16;
  for (int64_t i = 0; i < dim; i += 32) {
    alignas(64) float group[32];
    const int64_t n = dim - i < 32 ? dim - i : 32;
    for (int64_t j = 0; j < 32; ++j) group[j] = x[i + (j < n ? j : 0)];
    const V16 a = Load(group), b = Load(group + 16);
    I32 m = MaxI(Magnitude(a), Magnitude(b));
    V16 low = Min(a, b), high = Max(a, b);
#pragma GCC unroll 4
    for (int step = 8; step > 0; step /= 2) {
      low = Min(low, SwapLanesF(low, step));
      high = Max(high, SwapLanesF(high, step));
      m = MaxI(m, Bits(SwapLanesF(FromBits(m), step)));
    }
    V16 minimum = RoundTripF16(Add(low, Set(0.0f)));  // -0 becomes 0
    V16 scale = RoundTripF16(Max(Div(Sub(high, minimum), Set(15.0f)), Set(1e-5f)));
    const M16 finite = IsFinite(MaxI(m, MaxI(Magnitude(minimum), Magnitude(scale))));
    minimum = FiniteOrNan(finite, minimum);
    scale = FiniteOrNan(finite, scale);
    alignas(64) int8_t codes[32];
    alignas(64) uint16_t pair[32];
    const V16 code_a = Min(Set(15.0f), Max(Set(0.0f), Round(Div(Sub(a, minimum), scale))));
    const V16 code_b = Min(Set(15.0f), Max(Set(0.0f), Round(Div(Sub(b, minimum), scale))));
    StoreS8(codes, ToInt(code_a));
    StoreS8(codes + 16, ToInt(code_b));
    for (int64_t j = n; j < 32; ++j) codes[j] = 0;
    for (int j = 0; j < 16; ++j)
      out[i / 2 + j] = static_cast<uint8_t>(codes[j] | codes[j + 16] << 4);
    StoreF16(pair, scale);
    StoreF16(pair + 16, minimum);
    __builtin_memcpy(params + i / 32 * 4, &pair[0], 2);
    __builtin_memcpy(params + i / 32 * 4 + 2, &pair[16], 2);
  }
}

void KvEncodeF16(const float* x, int64_t dim, uint8_t* out) {
  ToF16Row(x, reinterpret_cast<uint16_t*>(out), dim);
}
