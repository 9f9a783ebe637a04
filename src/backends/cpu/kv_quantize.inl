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

alignas(64) inline constexpr int32_t kLanes[16] = {0, 1, 2,  3,  4,  5,  6,  7,
                                                   8, 9, 10, 11, 12, 13, 14, 15};

// Lane by lane the f16 scale of a group whose largest magnitude is m; NaN where it is not finite.
RILL_INLINE void Int8Scales(I32 m, uint16_t* scales) {
  V16 scale = RoundTripF16(Max(Div(FromBits(m), Set(127.0f)), Set(1e-5f)));
  StoreF16(scales, FiniteOrNan(IsFinite(MaxI(m, Magnitude(scale))), scale));
}
// Lanes 0 ... 7 and 8 ... 15: the largest magnitude of each 8 elements.
RILL_INLINE I32 LargestOf8(V16 x) {
  I32 m = Magnitude(x);  // as integers NaN > Inf > every number
  RILL_REDUCE_8(MaxI, m)
  return m;
}
RILL_INLINE void Int8Codes(V16 x, V16 scale, int8_t* codes) {
  // Max and Min in this order keep NaN, whose code is the low byte of INT_MIN: 0.
  StoreS8(codes, ToInt(Min(Set(127.0f), Max(Set(-127.0f), Round(Div(x, scale))))));
}

void KvEncodeInt8(const float* x, int64_t dim, uint8_t* out) {
  uint8_t* params = out + dim;
  alignas(64) uint16_t scales[16];
  int64_t i = 0;
  // Eight groups share the division that makes their scales.
  for (; i + 64 <= dim; i += 64) {
    const I32 lane = LoadI(kLanes);
    const auto bit = [&](int n) __attribute__((always_inline)) {
      return LtI(SetI(0), AndI(lane, SetI(n)));
    };
    const auto pick = [](M16 mask, I32 yes, I32 no) __attribute__((always_inline)) {
      return Bits(Select(mask, FromBits(yes), FromBits(no)));
    };
    V16 v[4];
    I32 m[4];  // even lanes below 8: of the first group, odd ones: of the second
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      v[c] = Load(x + i + 16 * c);
      const I32 both = LargestOf8(v[c]);
      m[c] = pick(bit(1), SwapLanes<8>(both), both);
    }
    Int8Scales(pick(bit(4), pick(bit(2), m[3], m[2]), pick(bit(2), m[1], m[0])), scales);
    __builtin_memcpy(params + i / 4, scales, 16);
    const V16 scale = LoadF16(scales);
    auto* codes = reinterpret_cast<int8_t*>(out + i);
    Int8Codes(v[0], Spread<0, 1>(scale), codes);
    Int8Codes(v[1], Spread<2, 3>(scale), codes + 16);
    Int8Codes(v[2], Spread<4, 5>(scale), codes + 32);
    Int8Codes(v[3], Spread<6, 7>(scale), codes + 48);
  }
  for (; i < dim; i += 16) {
    const int64_t n = dim - i < 16 ? dim - i : 16;
    const V16 v = n == 16 ? Load(x + i) : LoadN(x + i, n);
    Int8Scales(LargestOf8(v), scales);
    alignas(64) int8_t codes[16];
    Int8Codes(v, LoadF16(scales), codes);
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
