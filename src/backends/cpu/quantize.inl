// Activations to tiles: f32 interleaved, or int8 codes with scales and sums (formulas in
// gemm_q8.inl). A tile of `width` tokens is stored `stride` >= width wide; what lies behind the
// last token is zeros.

void PackF32(const float* const* rows, int width, int stride, int64_t k0, int64_t k1, float* out) {
  for (int t = 0; t < width; ++t) {
    const float* row = rows[t];
    for (int64_t i = k0; i < k1; ++i) out[i * stride + t] = row[i];
  }
  for (int t = width; t < stride; ++t) {
    for (int64_t i = k0; i < k1; ++i) out[i * stride + t] = 0.0f;
  }
}

// d and 127 / m of a group whose largest |x| has the bits `largest`.
RILL_INLINE void GroupScale(float largest, float* d, float* inverse) {
  *d = 0.0f;
  *inverse = 0.0f;
  if (!(largest <= 0x1.fffffep127f)) {
    *d = largest;
  } else if (largest >= 0x1p-100f) {
    *d = largest / 127.0f;
    *inverse = 127.0f / largest;
  }
}

// The codes of 16 elements; |x| * inverse <= 127 (1 + 2^-22), so rounding stays in range.
RILL_INLINE I32 Codes16(const float* x, V16 factor) {
  return ToInt(Round(Mul(Load(x), factor)));
}

struct MaxOp {
  RILL_INLINE static I32 Apply(I32 a, I32 b) { return MaxI(a, b); }
  RILL_INLINE static int32_t Reduce(I32 a) { return ReduceMaxI(a); }
};
struct AddOp {
  RILL_INLINE static I32 Apply(I32 a, I32 b) { return AddI(a, b); }
  RILL_INLINE static int32_t Reduce(I32 a) { return ReduceAddI(a); }
};

RILL_INLINE void StoreCodes(I32 a, I32 b, int64_t u, int t, int stride, TileLayout layout,
                            int8_t* codes) {
  if (layout == TileLayout::kUnits) {
    codes += (u * stride + t) * kUnit;
    StoreS8(codes, a);
    StoreS8(codes + 16, b);
    return;
  }
  alignas(32) int8_t quads[kUnit];
  StoreS8(quads, a);
  StoreS8(quads + 16, b);
  if (layout == TileLayout::kEights) {
    codes += (u * 4 * stride + t) * 8;
    for (int64_t e = 0; e < 4; ++e) __builtin_memcpy(codes + e * stride * 8, quads + 8 * e, 8);
    return;
  }
  codes += (u * 8 * stride + t) * 4;
  for (int64_t q = 0; q < 8; ++q) __builtin_memcpy(codes + q * stride * 4, quads + 4 * q, 4);
}

// At 16 - n: all ones in lanes below n.
alignas(64) constexpr int32_t kLanesBelow[32] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                                 -1, -1, -1, -1, -1, -1, -1, -1};

// N <= 16 groups of one unit each, side by side in lanes (a group at a time took 47 cycles, most of
// them for the reductions and the two divisions): units u0 … u0 + 15 of token t, or, kTokens, unit
// u0 of tokens 0 … count - 1. row(g): the 32 elements of group g; beyond count any that may be
// read. kFours: N tokens are stored four at a time, those beyond count as zeros.
template <bool kTokens, int N, bool kFours, typename Row>
RILL_INLINE void QuantizeSide(Row&& row, int64_t u0, int t0, int count, int stride,
                              TileLayout layout, const QuantTile& out) {
  static_assert(kTokens || N == 16);
  I32 top[16];
#pragma GCC unroll 16
  for (int g = 0; g < 16; ++g) {
    top[g] = g < N ? MaxI(Bits(Abs(Load(row(g)))), Bits(Abs(Load(row(g) + 16)))) : SetI(0);
  }
  I32 largest = ReduceEach<MaxOp>(top);
  if constexpr (kFours) largest = AndI(largest, LoadI(kLanesBelow + 16 - count));
  const V16 m = FromBits(largest), zero = Set(0.0f);
  const M16 too_small = LtI(largest, Bits(Set(0x1p-100f)));
  const M16 not_finite = LtI(Bits(Set(0x1.fffffep127f)), largest);
  const V16 d_v = Select(not_finite, m, Select(too_small, zero, Div(m, Set(127.0f))));
  const V16 inverse_v = Select(not_finite, zero, Select(too_small, zero, Div(Set(127.0f), m)));
  alignas(64) float d[16], inverse[16];
  Store(d, d_v);
  Store(inverse, inverse_v);
  const auto unit = [&](int64_t g) __attribute__((always_inline)) { return kTokens ? u0 : u0 + g; };
  const auto token = [&](int64_t g) __attribute__((always_inline)) {
    return kTokens ? static_cast<int>(g) : t0;
  };
  I32 sum_a[16], sum_b[16];
#pragma GCC unroll 16
  for (int g = 0; g < 16; ++g) {
    I32 a = SetI(0), b = SetI(0);
    if (g < N && inverse[g] > 0.0f) {
      a = Codes16(row(g), Set(inverse[g]));
      b = Codes16(row(g) + 16, Set(inverse[g]));
    }
    sum_a[g] = a;
    sum_b[g] = b;
    if constexpr (kFours) {
      if (g < N && g % 4 == 3) {
        StoreFour(out.codes + (u0 * 8 * stride + g - 3) * 4, int64_t{stride} * 4, sum_a + g - 3,
                  sum_b + g - 3);
      }
    } else if (!kTokens || g < count) {
      StoreCodes(a, b, unit(g), token(g), stride, layout, out.codes);
    }
  }
  alignas(64) int32_t neg[16];
  alignas(64) float scaled[16];
  if (out.neg_sum16 != nullptr) {
    const I32 half[2] = {ReduceEach<AddOp>(sum_a), ReduceEach<AddOp>(sum_b)};
    for (int h = 0; h < 2; ++h) {
      StoreI(neg, SubI(SetI(0), half[h]));
      Store(scaled, Mul(d_v, ToFloat(half[h])));
      for (int64_t g = 0; g < (kFours ? N : count); ++g) {
        out.neg_sum16[(2 * unit(g) + h) * stride + token(g)] = neg[g];
        out.scaled_sum16[(2 * unit(g) + h) * stride + token(g)] = scaled[g];
      }
    }
  }
#pragma GCC unroll 16
  for (int g = 0; g < 16; ++g) sum_a[g] = AddI(sum_a[g], sum_b[g]);
  const I32 sum = ReduceEach<AddOp>(sum_a);
  if constexpr (kTokens) {
    if constexpr (kFours) count = N;
    StoreN(out.scale + u0 * stride, d_v, count);
    StoreN(reinterpret_cast<float*>(out.neg_sum) + u0 * stride, FromBits(SubI(SetI(0), sum)),
           count);
    StoreN(out.scaled_sum + u0 * stride, Mul(d_v, ToFloat(sum)), count);
    return;
  }
  StoreI(neg, SubI(SetI(0), sum));
  Store(scaled, Mul(d_v, ToFloat(sum)));
  for (int64_t g = 0; g < 16; ++g) {
    out.scale[(u0 + g) * stride + t0] = d[g];
    out.neg_sum[(u0 + g) * stride + t0] = neg[g];
    out.scaled_sum[(u0 + g) * stride + t0] = scaled[g];
  }
}

// One group of `units` units of one token.
RILL_INLINE void QuantizeGroup(const float* row, int64_t u0, int64_t units, float d, float inverse,
                               int t, int stride, TileLayout layout, int64_t group,
                               const QuantTile& out) {
  const V16 factor = Set(inverse);
  int32_t sum = 0;
  for (int64_t u = u0; u < u0 + units; ++u) {
    I32 a = SetI(0), b = SetI(0);
    if (inverse > 0.0f) {
      a = Codes16(row + u * kUnit, factor);
      b = Codes16(row + u * kUnit + 16, factor);
    }
    StoreCodes(a, b, u, t, stride, layout, out.codes);
    if (out.neg_sum16 != nullptr) {
      const int32_t sum_a = ReduceAddI(a), sum_b = ReduceAddI(b);
      sum += sum_a + sum_b;
      out.neg_sum16[2 * u * stride + t] = -sum_a;
      out.neg_sum16[(2 * u + 1) * stride + t] = -sum_b;
      out.scaled_sum16[2 * u * stride + t] = d * static_cast<float>(sum_a);
      out.scaled_sum16[(2 * u + 1) * stride + t] = d * static_cast<float>(sum_b);
    } else {
      sum += ReduceAddI(AddI(a, b));
    }
  }
  out.scale[group * stride + t] = d;
  out.neg_sum[group * stride + t] = -sum;
  out.scaled_sum[group * stride + t] = d * static_cast<float>(sum);
}

void Quantize(const float* const* rows, int width, int stride, int64_t unit0, int64_t unit1,
              int64_t group_units, TileLayout layout, const QuantTile& tile) {
  const QuantTile out = tile;
  int pad = stride - width;
  // Tokens side by side: all of a wide tile, where quads of four of them can be stored at once, or
  // a few units (ops/gated_ffn.h).
  const auto tokens = [&]<int N, bool kFours>() __attribute__((always_inline)) {
    for (int64_t u = unit0; u < unit1; ++u) {
      const auto row = [&](int64_t g) __attribute__((always_inline)) {
        return rows[g < width ? g : 0] + u * kUnit;
      };
      QuantizeSide<true, N, kFours>(row, u, 0, width, stride, layout, out);
    }
    if (kFours) pad = 0;
    width = 0;
  };
  if (group_units == 1 && width > 4 && width <= 16) {
    if (kStoresFours && layout == TileLayout::kQuads && stride % 4 == 0) {
      if (stride <= 8) {
        tokens.template operator()<8, true>();
      } else if (stride <= 12) {
        tokens.template operator()<12, true>();
      }
    } else if (width >= 8 && unit1 - unit0 < 16) {
      tokens.template operator()<16, false>();
    }
  }
  for (int t = 0; t < width; ++t) {
    int64_t u = unit0;
    if (group_units == 1) {
      for (; u + 16 <= unit1; u += 16) {
        const float* x = rows[t] + u * kUnit;
        const auto row = [x](int64_t g) __attribute__((always_inline)) { return x + g * kUnit; };
        QuantizeSide<false, 16, false>(row, u, t, 16, stride, layout, out);
      }
    }
    int64_t group = u / group_units;
    for (; u < unit1; u += group_units, ++group) {
      const int64_t n = u + group_units < unit1 ? group_units : unit1 - u;
      I32 largest = SetI(0);
      for (int64_t i = u * kUnit; i < (u + n) * kUnit; i += 16) {
        largest = MaxI(largest, Bits(Abs(Load(rows[t] + i))));
      }
      float d, inverse;
      GroupScale(__builtin_bit_cast(float, ReduceMaxI(largest)), &d, &inverse);
      QuantizeGroup(rows[t], u, n, d, inverse, t, stride, layout, group, out);
    }
  }
  if (pad == 0) return;
  width = stride - pad;
  const auto clear = [pad](void* p, int bytes) __attribute__((always_inline)) {
    __builtin_memset(p, 0, static_cast<size_t>(pad * bytes));
  };
  for (int64_t g = unit0 / group_units; g * group_units < unit1; ++g) {
    clear(out.scale + g * stride + width, 4);
    clear(out.neg_sum + g * stride + width, 4);
    clear(out.scaled_sum + g * stride + width, 4);
  }
  for (int64_t u = unit0; u < unit1; ++u) {
    if (layout == TileLayout::kUnits) {
      clear(out.codes + (u * stride + width) * kUnit, kUnit);
    } else if (layout == TileLayout::kEights) {
      for (int64_t e = 4 * u; e < 4 * u + 4; ++e) clear(out.codes + (e * stride + width) * 8, 8);
    } else {
      for (int64_t q = 8 * u; q < 8 * u + 8; ++q) clear(out.codes + (q * stride + width) * 4, 4);
    }
    if (out.neg_sum16 != nullptr) {
      for (int64_t h = 2 * u; h < 2 * u + 2; ++h) {
        clear(out.neg_sum16 + h * stride + width, 4);
        clear(out.scaled_sum16 + h * stride + width, 4);
      }
    }
  }
}
