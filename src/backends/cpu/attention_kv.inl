// Readers of KV slabs (quant/paged_kv_view.h), one for each format: 16 positions of a key element,
// 16 or more elements of a value, as f32, exactly as quant/kv_<name>.cc decodes them.
//
//   kGroup, kGroupBytes     elements and bytes of one group of a K strip
//   Params                  what KeyParams read from the head of a group, lane = position
//   Key(…, group, j, a, b)  elements j and j + 1 of a group; KeyOne: element j alone
//   Values<C>(row, …)       16 C elements of a V row from `column` on, a multiple of 16

// A hint that the line of `p` will be read.
RILL_INLINE void AskFor(const void* p) {
  __builtin_prefetch(p);
}

template <quant::KvFormat kFormat>
struct PlainKv {
  static constexpr bool kIsF32 = kFormat == quant::KvFormat::kF32;
  static constexpr bool kAlwaysConvert = kFormat == quant::KvFormat::kBF16;
  static constexpr int kGroup = 2;
  static constexpr int64_t kElement = kIsF32 ? 4 : 2;
  static constexpr int64_t kGroupBytes = 32 * kElement;
  struct Params {};
  static RILL_INLINE V16 LoadPlain(const std::byte* p) {
    if constexpr (kIsF32) {
      return Load(reinterpret_cast<const float*>(p));
    } else if constexpr (kFormat == quant::KvFormat::kF16) {
      return LoadF16(reinterpret_cast<const uint16_t*>(p));
    } else {
      return LoadBf16(reinterpret_cast<const uint16_t*>(p));
    }
  }
  static RILL_INLINE Params KeyParams(const std::byte*) { return {}; }
  static RILL_INLINE V16 KeyOne(const Params&, const std::byte* group, int) {
    return LoadPlain(group);
  }
  static RILL_INLINE void Key(const Params&, const std::byte* group, int, V16& a, V16& b) {
    a = LoadPlain(group);
    b = LoadPlain(group + 16 * kElement);
  }
  template <int C>
  static RILL_INLINE void PrefetchValues(const std::byte* row, int64_t column) {
    for (int64_t i = 0; i < 16 * C * kElement; i += 64) AskFor(row + column * kElement + i);
  }
  template <int C>
  static RILL_INLINE void Values(const std::byte* row, int64_t, int64_t column, V16* out) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) out[c] = LoadPlain(row + (column + 16 * c) * kElement);
  }
};
using KvF32 = PlainKv<quant::KvFormat::kF32>;
using KvF16 = PlainKv<quant::KvFormat::kF16>;
using KvBf16 = PlainKv<quant::KvFormat::kBF16>;

struct KvInt8 {
  static constexpr bool kIsF32 = false;
  static constexpr bool kAlwaysConvert = false;
  static constexpr int kGroup = 8;
  static constexpr int64_t kGroupBytes = 32 + 8 * 16;
  struct Params {
    V16 scale;
  };
  static RILL_INLINE Params KeyParams(const std::byte* group) {
    return {LoadF16(reinterpret_cast<const uint16_t*>(group))};
  }
  static RILL_INLINE V16 KeyOne(const Params& p, const std::byte* group, int j) {
    return Mul(p.scale, ToFloat(LoadS8(reinterpret_cast<const uint8_t*>(group) + 32 + 16 * j)));
  }
  static RILL_INLINE void Key(const Params& p, const std::byte* group, int j, V16& a, V16& b) {
    a = KeyOne(p, group, j);
    b = KeyOne(p, group, j + 1);
  }
  // Codes of 64 elements and the end of their scales, in 80 bytes for heads of 64.
  template <int C>
  static RILL_INLINE void PrefetchValues(const std::byte* row, int64_t column) {
    AskFor(row + column);
    AskFor(row + column + 64);
  }
  template <int c>
  static RILL_INLINE V16 Value(const uint8_t* codes, V16 scales) {
    return Mul(Spread<2 * c, 2 * c + 1>(scales), ToFloat(LoadS8(codes + 16 * c)));
  }
  template <int C>
  static RILL_INLINE void Values(const std::byte* row, int64_t code_bytes, int64_t column,
                                 V16* out) {
    const uint8_t* codes = reinterpret_cast<const uint8_t*>(row) + column;
    const V16 scales =
        LoadF16Few<2 * C>(reinterpret_cast<const uint16_t*>(row + code_bytes + column / 4));
    out[0] = Value<0>(codes, scales);
    if constexpr (C > 1) out[1] = Value<1>(codes, scales);
    if constexpr (C > 2) {
      out[2] = Value<2>(codes, scales);
      out[3] = Value<3>(codes, scales);
    }
  }
};

struct KvInt4 {
  static constexpr bool kIsF32 = false;
  static constexpr bool kAlwaysConvert = false;
  static constexpr int kGroup = 32;
  static constexpr int64_t kGroupBytes = 2 * 32 + 16 * 16;
  struct Params {
    V16 scale, minimum;
  };
  static RILL_INLINE Params KeyParams(const std::byte* group) {
    return {LoadF16(reinterpret_cast<const uint16_t*>(group)),
            LoadF16(reinterpret_cast<const uint16_t*>(group + 32))};
  }
  static RILL_INLINE V16 Low(V16 scale, V16 minimum, I32 both) {
    return Fma(scale, ToFloat(AndI(both, SetI(15))), minimum);
  }
  static RILL_INLINE V16 High(V16 scale, V16 minimum, I32 both) {
    return Fma(scale, ToFloat(SraI<4>(both)), minimum);
  }
  static RILL_INLINE I32 Pair(const std::byte* group, int j) {
    return LoadU8(reinterpret_cast<const uint8_t*>(group) + 64 + 8 * j);
  }
  static RILL_INLINE V16 KeyOne(const Params& p, const std::byte* group, int j) {
    return Low(p.scale, p.minimum, Pair(group, j));
  }
  static RILL_INLINE void Key(const Params& p, const std::byte* group, int j, V16& a, V16& b) {
    const I32 both = Pair(group, j);
    a = Low(p.scale, p.minimum, both);
    b = High(p.scale, p.minimum, both);
  }
  template <int C>
  static RILL_INLINE void PrefetchValues(const std::byte* row, int64_t column) {
    AskFor(row + column / 2);
  }
  template <int C>
  static RILL_INLINE void Values(const std::byte* row, int64_t code_bytes, int64_t column,
                                 V16* out) {
    const uint8_t* codes = reinterpret_cast<const uint8_t*>(row) + column / 32 * 16;
    const V16 params = LoadF16Few<(C == 4 ? 4 : 2)>(
        reinterpret_cast<const uint16_t*>(row + code_bytes + column / 32 * 4));
    const V16 scale = Spread<0, 0>(params), minimum = Spread<1, 1>(params);
    const I32 both = LoadU8(codes);
    if constexpr (C == 1) {
      out[0] = column % 32 == 0 ? Low(scale, minimum, both) : High(scale, minimum, both);
      return;
    }
    if constexpr (C > 1) {
      out[0] = Low(scale, minimum, both);
      out[1] = High(scale, minimum, both);
    }
    if constexpr (C > 2) {
      const V16 scale2 = Spread<2, 2>(params), minimum2 = Spread<3, 3>(params);
      const I32 more = LoadU8(codes + 16);
      out[2] = Low(scale2, minimum2, more);
      out[3] = High(scale2, minimum2, more);
    }
  }
};
