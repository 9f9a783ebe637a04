// Attention of query rows that share a KV head, over spans of 256 and tiles of 64 absolute
// positions.
//
// Mapping: scores have 16 positions in the lanes (a K strip), outputs 16 head dimensions. T rows
// share every key and value that is loaded: T x S accumulators over S strips, T x C over C x 16
// dimensions, so that the fma's latency is hidden even for one row. Few rows (decode) convert keys
// and values in registers as they are read; more rows than one tile (prefill) convert each
// 64-position tile to f32 in L1 once. Both see the same f32 numbers, so the bits agree.
//
// Arithmetic of one row, whoever shares its block. In a span, from m = -Inf, l = 0, acc = 0, tile
// by tile:
//   s = scale * (fma chain over d); softcap; ALiBi; hidden positions -Inf
//   m' = max(m, max s); p = e^(s - m'), 0 where hidden or below 2^-100; c = e^(m - m')
//   l = fma(l, c, sum p);  acc = acc * c, then fma(p, V, acc) over visible positions in ascending
//   order
// Spans are merged in ascending order (sinks are a first span with m = sink, l = 1, acc = 0):
//   M = max(m, m2); a = e^(m - M); b = e^(m2 - M); l = fma(l, a, l2 * b); acc = fma(acc, a, acc2 *
//   b)
// (Probabilities below 2^-100 move no output by a millionth of an ulp, and one below 2^-126 takes a
// microcode assist in every multiplication: where scores differ by 90 that was most of the time.)
// A span is computed on its own, so spans of one row may go to different threads
// (ops_attention.cc). Tiles and spans without a visible position of the row are skipped. V of
// hidden positions does not reach a result: it may hold anything.

// clang-format off: in the order of use.
#include "backends/cpu/kv_quantize.inl"
#include "backends/cpu/attention_kv.inl"
// clang-format on

#ifndef RILL_ACCUMULATORS
#define RILL_ACCUMULATORS 6  // AVX2: 12 of 16 registers
#endif
// Rows of one tile, and how many strips (or groups of 16 dimensions) it takes at once.
inline constexpr int kAttentionRows = kTile == 1 ? 1 : RILL_ACCUMULATORS > 6 ? 8 : 6;
constexpr int AttentionWidth(int rows) {
  if (kTile == 1) return 1;
  return 4 * rows <= RILL_ACCUMULATORS ? 4 : 2 * rows <= RILL_ACCUMULATORS ? 2 : 1;
}
// Calls CALL(T) with the smallest compiled T >= rows.
#define RILL_ATTENTION_ROWS(rows, CALL)                  \
  if constexpr (kAttentionRows == 1) {                   \
    CALL(1);                                             \
  } else {                                               \
    switch (rows) {                                      \
      case 1: CALL(1); break;                            \
      case 2: CALL((kAttentionRows < 2 ? 1 : 2)); break; \
      case 3: CALL((kAttentionRows < 3 ? 1 : 3)); break; \
      case 4: CALL((kAttentionRows < 4 ? 1 : 4)); break; \
      case 5:                                            \
      case 6: CALL((kAttentionRows < 6 ? 1 : 6)); break; \
      default: CALL(kAttentionRows); break;              \
    }                                                    \
  }
// Rows a tile of `rows` computes: the T that is called.
constexpr int PaddedRows(int rows) {
  return kAttentionRows == 1 ? 1 : rows == 5 ? 6 : rows < 6 ? rows : rows == 6 ? 6 : kAttentionRows;
}

// The queries of T rows as PlaceQueries lays them out, from an element on: row after row where T
// row pointers fit in registers, else [k_dim][T], for which one pointer is enough.
template <int T>
struct Queries {
  static constexpr bool kByRows = T <= 4;
  const float* at;
  int64_t k_dim;
  RILL_INLINE float Element(int t, int d) const {
    return kByRows ? at[t * k_dim + d] : at[d * T + t];
  }
  RILL_INLINE void Skip(int n) { at += kByRows ? n : n * T; }
};

// acc[t][s] = fma(k[s], element d of query t, acc[t][s])
template <int T, int S>
RILL_INLINE void AddProducts(const V16* k, const Queries<T>& q, int d, V16 (*acc)[S]) {
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    const V16 factor = Set(q.Element(t, d));
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) acc[t][s] = Fma(k[s], factor, acc[t][s]);
  }
}

// Scores of S strips: scores[64 t + 16 s + lane].
// The strips `ask` are asked for meanwhile.
template <class Kv, int T, int S>
RILL_INLINE void StripScores(const std::byte* const* strips, const std::byte* const* ask,
                             int64_t k_dim, Queries<T> q, float* scores) {
  V16 acc[T][S];
  const std::byte* at[S];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) acc[t][s] = Set(0.0f);
  }
#pragma GCC unroll 4
  for (int s = 0; s < S; ++s) at[s] = strips[s];
  if constexpr (Kv::kIsF32) {
    // No groups: a loop of its own spends nothing but the products and their loads.
    for (int64_t d = 0; d < k_dim; ++d, q.Skip(1)) {
      V16 k[S];
#pragma GCC unroll 4
      for (int s = 0; s < S; ++s) k[s] = Load(reinterpret_cast<const float*>(at[s]) + 16 * d);
      AddProducts<T, S>(k, q, 0, acc);
    }
    k_dim = 0;
  }
  int64_t group = 0;  // bytes
  for (int64_t d = 0; d < k_dim; d += Kv::kGroup, group += Kv::kGroupBytes) {
    typename Kv::Params params[S];
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) {
      params[s] = Kv::KeyParams(at[s]);
#pragma GCC unroll 5
      for (int64_t i = 0; i < Kv::kGroupBytes; i += 64) AskFor(ask[s] + group + i);
    }
    const int n = k_dim - d < Kv::kGroup ? static_cast<int>(k_dim - d) : Kv::kGroup;
    int j = 0;
    for (; j + 2 <= n; j += 2) {
      V16 a[S], b[S];
#pragma GCC unroll 4
      for (int s = 0; s < S; ++s) Kv::Key(params[s], at[s], j, a[s], b[s]);
      AddProducts<T, S>(a, q, j, acc);
      AddProducts<T, S>(b, q, j + 1, acc);
    }
    if (j < n) {
      V16 a[S];
#pragma GCC unroll 4
      for (int s = 0; s < S; ++s) a[s] = Kv::KeyOne(params[s], at[s], j);
      AddProducts<T, S>(a, q, j, acc);
    }
    q.Skip(Kv::kGroup);
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) at[s] += Kv::kGroupBytes;
  }
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) Store(scores + 64 * t + 16 * s, acc[t][s]);
  }
}

// acc[t][c] = fma(p[t][i], V[i], acc[t][c]) for i in [begin, end) of one 64-position tile; the same
// rows of the strips `ask` are asked for meanwhile.
template <class Kv, int T, int C>
RILL_INLINE void AccumulateV(const std::byte* const* strips, const std::byte* const* ask,
                             int64_t row_bytes, int64_t code_bytes, int64_t column, const float* p,
                             int begin, int end, V16 (*acc)[C]) {
  int i = begin;
  while (i < end) {
    int stop = (i / 16 + 1) * 16;
    if (stop > end) stop = end;
    const std::byte* row = strips[i / 16] + (i % 16) * row_bytes;
    const std::byte* ask_row = Kv::kIsF32 ? nullptr : ask[i / 16] + (i % 16) * row_bytes;
    for (; i < stop; ++i, row += row_bytes) {
      V16 v[C];
      Kv::template Values<C>(row, code_bytes, column, v);
      if constexpr (!Kv::kIsF32) {
        Kv::template PrefetchValues<C>(ask_row, column);
        ask_row += row_bytes;
      }
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        const V16 weight = Set(p[64 * t + i]);
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) acc[t][c] = Fma(weight, v[c], acc[t][c]);
      }
    }
  }
}

// One tile as its rows see it. The strips of K and V are those of `Kv`: pages or f32 scratch.
struct AttentionTile {
  int32_t p0;  // position of the first lane
  const std::byte* k_strips[4];
  const std::byte* v_strips[4];
  // To be asked for while strip i is read: the strip that is read four
  // (AttentionBlock::kStripsAhead) after it, of this block or of those behind it (the hardware does
  // not see over the end of a slab). Where there is none, an address that is in the cache.
  const std::byte* k_ask[4];
  const std::byte* v_ask[4];
  int64_t v_row_bytes, v_code_bytes;
};

// m, l, acc of rows in one span, or merged so far.
struct SoftmaxState {
  float* m;    // [padded rows]
  float* l;    // [padded rows]
  float* acc;  // [padded rows][v_stride]
};

// What is visible of a tile, for T rows.
template <int T>
struct VisibleRange {
  int begin[T], end[T];          // in the tile; empty: 0, 0
  int first = 64, last = 0;      // of any row
  int common_begin, common_end;  // of all rows; empty: 64, 64
};

template <int T>
RILL_INLINE VisibleRange<T> Visible(const AttentionBlock& b, int r0, int32_t p0) {
  VisibleRange<T> v;
  v.common_begin = 0;
  v.common_end = 64;
  for (int t = 0; t < T; ++t) {
    v.begin[t] = b.begin[r0 + t] > p0 ? b.begin[r0 + t] - p0 : 0;
    v.end[t] = b.end[r0 + t] - p0 < 64 ? b.end[r0 + t] - p0 : 64;
    if (v.begin[t] >= v.end[t]) {
      v.begin[t] = v.end[t] = 0;
    } else {
      v.first = v.begin[t] < v.first ? v.begin[t] : v.first;
      v.last = v.end[t] > v.last ? v.end[t] : v.last;
    }
    v.common_begin = v.begin[t] > v.common_begin ? v.begin[t] : v.common_begin;
    v.common_end = v.end[t] < v.common_end ? v.end[t] : v.common_end;
  }
  if (v.common_end <= v.common_begin) v.common_begin = v.common_end = 64;
  return v;
}

#ifndef RILL_HAS_REDUCE_ROWS
// Lane t < T: the lanes of v[t] reduced; other lanes hold anything.
template <int T>
RILL_INLINE V16 ReduceMaxRows(const V16* v) {
  alignas(64) float lane[16] = {};
  for (int t = 0; t < T; ++t) lane[t] = ReduceMax(v[t]);
  return Load(lane);
}
template <int T>
RILL_INLINE V16 ReduceAddRows(const V16* v) {
  alignas(64) float lane[16] = {};
  for (int t = 0; t < T; ++t) lane[t] = ReduceAdd(v[t]);
  return Load(lane);
}
#endif

// e^x of scores below their maximum (x <= 0 or NaN): the bits of Exp, and 0 below 2^-100. e^-70 is
// below that, so nothing subnormal is computed (which costs an assist) and one factor scales
// exactly.
RILL_INLINE V16 Probability(V16 x) {
  x = Max(Set(-70.0f), x);  // this order keeps NaN
  const V16 e = ExpNormal(x);
  return Select(Lt(e, Set(0x1p-100f)), Set(0.0f), e);
}

// Scores to probabilities p[64 t + i] of rows [r0, r0 + T), and what their accumulators shrink by.
template <int T>
void TileSoftmax(const AttentionBlock& b, const SoftmaxState& state, int r0, int32_t p0,
                 const VisibleRange<T>& v, float* p, float* correction) {
  const int strip0 = v.first / 16, strip1 = (v.last + 15) / 16;
  const bool whole = v.common_begin == 0 && v.common_end == 64;
  // Nothing but a factor, that may as well come after the maximum: rounding is monotone.
  const bool plain = whole && b.score_scale > 0.0f && b.softcap <= 0.0f && !b.has_alibi;
  const I32 iota = LoadI(kLanes);
  const V16 hidden = Set(-__builtin_inff());
  const V16 scale = Set(b.score_scale);
  V16 reduced[T];
  for (int t = 0; t < T; ++t) {
    float* s = p + 64 * t;
    if (plain) {
      reduced[t] = Max(Max(Load(s), Load(s + 16)), Max(Load(s + 32), Load(s + 48)));
      continue;
    }
    V16 best = hidden;
    for (int strip = strip0; strip < strip1; ++strip) {
      V16 x = Mul(Load(s + 16 * strip), scale);
      if (b.softcap > 0.0f) x = Mul(Tanh(Div(x, Set(b.softcap))), Set(b.softcap));
      if (b.has_alibi) {
        const I32 distance = AddI(iota, SetI(16 * strip + p0 - b.position[r0 + t]));
        x = Fma(Set(b.slope[r0 + t]), ToFloat(distance), x);
      }
      if (!whole) {
        const I32 index = AddI(iota, SetI(16 * strip));
        x = Select(LtI(index, SetI(v.begin[t])), hidden, x);
        x = Select(LtI(index, SetI(v.end[t])), x, hidden);
      }
      best = Max(x, best);
      Store(s + 16 * strip, x);
    }
    reduced[t] = best;
  }
  V16 tile_max = ReduceMaxRows<T>(reduced);
  if (plain) tile_max = Mul(tile_max, scale);
  const V16 m_old = Load(state.m + r0), l_old = Load(state.l + r0);
  const V16 m = Max(m_old, tile_max);
  alignas(64) float m_new[16], l_new[16];
  Store(m_new, m);
  // Nothing before: nothing to shrink.
  const V16 shrink = Select(Lt(Set(0.0f), l_old), Exp(Sub(m_old, m)), Set(0.0f));
  for (int t = 0; t < T; ++t) {
    float* s = p + 64 * t;
    const V16 top = Set(m_new[t]);
    if (plain) {
      V16 e[4];
#pragma GCC unroll 4
      for (int strip = 0; strip < 4; ++strip) {
        e[strip] = Probability(Sub(Mul(Load(s + 16 * strip), scale), top));
        Store(s + 16 * strip, e[strip]);
      }
      reduced[t] = Add(Add(Add(e[0], e[1]), e[2]), e[3]);
      continue;
    }
    V16 sum = Set(0.0f);
    for (int strip = strip0; strip < strip1; ++strip) {
      V16 e = Probability(Sub(Load(s + 16 * strip), top));
      if (!whole) {
        const I32 index = AddI(iota, SetI(16 * strip));
        e = Select(LtI(index, SetI(v.begin[t])), Set(0.0f), e);
        e = Select(LtI(index, SetI(v.end[t])), e, Set(0.0f));
      }
      sum = Add(sum, e);
      Store(s + 16 * strip, e);
    }
    reduced[t] = sum;
  }
  Store(correction, shrink);
  // Lanes beyond T belong to other rows.
  Store(l_new, Fma(l_old, shrink, ReduceAddRows<T>(reduced)));
  for (int t = 0; t < T; ++t) {
    if (v.begin[t] < v.end[t]) {
      state.m[r0 + t] = m_new[t];
      state.l[r0 + t] = l_new[t];
    } else {
      correction[t] = 1.0f;
    }
  }
}

// out = out * factor, then the positions [begin, end) that only some rows of its tile see, of one
// row and C x 16 dimensions; the first `skip` x 16 are computed and not stored.
template <int C>
__attribute__((noinline)) void EdgeOutput(const AttentionTile& tile, int64_t column, int skip,
                                          const float* p, int begin, int end, float factor,
                                          float* out) {
  V16 acc[1][C];
#pragma GCC unroll 4
  for (int c = 0; c < C; ++c) acc[0][c] = Mul(Load(out + 16 * c), Set(factor));
  AccumulateV<KvF32, 1, C>(tile.v_strips, nullptr, tile.v_row_bytes, 0, column, p, begin, end, acc);
#pragma GCC unroll 4
  for (int c = 0; c < C; ++c) {
    if (c >= skip) Store(out + 16 * c, acc[0][c]);
  }
}

// The same for rows [r0, r0 + T): positions that all see run together, others row by row around.
template <class Kv, int T, int C>
RILL_INLINE void TileOutput(const AttentionTile& tile, const VisibleRange<T>& v, int64_t v_stride,
                            int64_t column, int skip, const float* p, const float* correction,
                            float* out) {
  float factor[T];
  for (int t = 0; t < T; ++t) factor[t] = correction[t];
  const bool whole = !Kv::kIsF32 || (v.common_begin == 0 && v.common_end == 64);
  for (int t = 0; t < T && !whole; ++t) {
    const int stop = v.end[t] < v.common_begin ? v.end[t] : v.common_begin;
    if (v.begin[t] >= stop) continue;
    EdgeOutput<C>(tile, column, skip, p + 64 * t, v.begin[t], stop, factor[t], out + t * v_stride);
    factor[t] = 1.0f;
  }
  V16 acc[T][C];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      acc[t][c] = Mul(Load(out + t * v_stride + 16 * c), Set(factor[t]));
    }
  }
  AccumulateV<Kv, T, C>(tile.v_strips, tile.v_ask, tile.v_row_bytes, tile.v_code_bytes, column, p,
                        v.common_begin, v.common_end, acc);
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      if (c >= skip) Store(out + t * v_stride + 16 * c, acc[t][c]);
    }
  }
  for (int t = 0; t < T && !whole; ++t) {
    const int start = v.begin[t] > v.common_end ? v.begin[t] : v.common_end;
    if (start >= v.end[t]) continue;
    EdgeOutput<C>(tile, column, skip, p + 64 * t, start, v.end[t], 1.0f, out + t * v_stride);
  }
}

// Rows [r0, r0 + T) over one tile; q is theirs, p scratch for [T][64]. Formats other than f32 are
// read here only when all rows see the same positions and v_stride >= 64 (AttendSpans).
template <class Kv, int T>
void AttendTile(const AttentionBlock& b, const AttentionTile& tile, const SoftmaxState& state,
                int r0, const float* q, float* p) {
  constexpr int kWidth = AttentionWidth(T);
  const VisibleRange<T> v = Visible<T>(b, r0, tile.p0);
  if (v.first >= v.last) return;
  // Strips at the edge of the visible ones are computed twice rather than with fewer accumulators.
  const int strip0 = v.first / 16, strip1 = (v.last + 15) / 16;
  const auto scores = [&]<int S>(int s) __attribute__((always_inline)) {
    const int s0 = s + S <= 4 ? s : 4 - S;
    const std::byte* strips[S];
    for (int i = 0; i < S; ++i) {
      int strip = s0 + i;
      strip = strip < strip0 ? strip0 : strip >= strip1 ? strip1 - 1 : strip;
      strips[i] = tile.k_strips[strip];
    }
    StripScores<Kv, T, S>(strips, tile.k_ask + s0, b.k_dim, Queries<T>{q, b.k_dim}, p + 16 * s0);
  };
  // The end of a context: half of a wide step may do.
  const bool half = kWidth == 4 && !Kv::kIsF32 && strip1 <= 2;
  if (half) scores.template operator()<kWidth == 4 ? 2 : kWidth>(strip0);
  for (int s = strip0; s < strip1 && !half; s += kWidth) scores.template operator()<kWidth>(s);
  if constexpr (!Kv::kIsF32) {
    // What the loop over the values, which has as many rows as are visible here, does not ask for.
    const auto ask_rows = [&](int begin, int end) {  // of one strip
      const std::byte* rows = tile.v_ask[begin / 16];
      const int64_t stop = (end - begin / 16 * 16) * tile.v_row_bytes;
      for (int64_t i = begin % 16 * tile.v_row_bytes; i < stop; i += 64) AskFor(rows + i);
    };
    if (v.first > 16 * strip0) ask_rows(16 * strip0, v.first);
    if (v.last < 16 * strip1) ask_rows(v.last, 16 * strip1);
  }
  alignas(64) float correction[16];
  TileSoftmax<T>(b, state, r0, tile.p0, v, p, correction);
  float* out = state.acc + r0 * b.v_stride;
  if (kWidth == 1 || b.v_stride >= 16 * kWidth) {
    // So are dimensions at the end.
    for (int64_t column = 0; column < b.v_stride; column += 16 * kWidth) {
      const int64_t over = column + 16 * kWidth - b.v_stride;
      const int skip = over > 0 ? static_cast<int>(over / 16) : 0;
      TileOutput<Kv, T, kWidth>(tile, v, b.v_stride, column - 16 * skip, skip, p, correction,
                                out + column - 16 * skip);
    }
  } else if constexpr (Kv::kIsF32 && kWidth > 1) {
    for (int64_t column = 0; column < b.v_stride; column += 16) {
      TileOutput<Kv, T, 1>(tile, v, b.v_stride, column, 0, p, correction, out + column);
    }
  }
}

// One tile of pages as f32: strips [k_dim][16], rows [v_stride].
template <class Kv>
void ConvertTile(const AttentionBlock& b, const AttentionTile& from, float* keys, float* values,
                 AttentionTile& to) {
  to = from;
  to.v_row_bytes = b.v_stride * 4;
  for (int s = 0; s < 4; ++s) {
    if (from.k_strips[s] == nullptr) continue;
    float* k = keys + s * b.k_dim * 16;
    to.k_strips[s] = reinterpret_cast<const std::byte*>(k);
    const std::byte* group = from.k_strips[s];
    for (int64_t d = 0; d < b.k_dim; d += Kv::kGroup, group += Kv::kGroupBytes) {
      const typename Kv::Params params = Kv::KeyParams(group);
#pragma GCC unroll 5
      for (int64_t i = 0; i < Kv::kGroupBytes; i += 64) {
        AskFor(from.k_ask[s] + (group - from.k_strips[s]) + i);
      }
      const int n = b.k_dim - d < Kv::kGroup ? static_cast<int>(b.k_dim - d) : Kv::kGroup;
      int j = 0;
      for (; j + 2 <= n; j += 2, k += 32) {
        V16 x, y;
        Kv::Key(params, group, j, x, y);
        Store(k, x);
        Store(k + 16, y);
      }
      if (j < n) Store(k, Kv::KeyOne(params, group, j));
      if (j < n) k += 16;
    }
    float* v = values + s * b.v_stride * 16;
    to.v_strips[s] = reinterpret_cast<const std::byte*>(v);
    const std::byte* row = from.v_strips[s];
    for (int i = 0; i < 16; ++i, row += from.v_row_bytes, v += b.v_stride) {
      int64_t column = 0;
      for (; column + 64 <= b.v_stride; column += 64) {
        V16 x[4];
        Kv::template Values<4>(row, from.v_code_bytes, column, x);
        Kv::template PrefetchValues<4>(from.v_ask[s] + (row - from.v_strips[s]), column);
#pragma GCC unroll 4
        for (int c = 0; c < 4; ++c) Store(v + column + 16 * c, x[c]);
      }
      for (; column < b.v_stride; column += 16) {
        V16 x[1];
        Kv::template Values<1>(row, from.v_code_bytes, column, x);
        Store(v + column, x[0]);
      }
    }
  }
}

RILL_INLINE void ResetState(const AttentionBlock& b, const SoftmaxState& state, int rows,
                            bool sinks) {
  for (int r = 0; r < rows; ++r) {
    state.m[r] = sinks ? b.sink[r] : -__builtin_inff();
    state.l[r] = sinks ? 1.0f : 0.0f;
  }
  for (int64_t i = 0; i < rows * b.v_stride; i += 16) Store(state.acc + i, Set(0.0f));
}

// Adds one span's m, l [rows, padded to 16] and accumulators `acc` (rows `stride` apart) to
// `total`.
RILL_INLINE void MergeRows(const AttentionBlock& b, const SoftmaxState& total, const float* m,
                           const float* l, const float* acc, int64_t stride) {
  alignas(64) float a[16], c[16], m_new[16], l_new[16];
  for (int r = 0; r < b.num_rows; ++r) {
    if (r % 16 == 0) {
      const V16 m1 = Load(total.m + r), m2 = Load(m + r);
      const V16 top = Max(m1, m2);
      const V16 shrink1 = Exp(Sub(m1, top)), shrink2 = Exp(Sub(m2, top));
      Store(a, shrink1);
      Store(c, shrink2);
      Store(m_new, top);
      Store(l_new, Fma(Load(total.l + r), shrink1, Mul(Load(l + r), shrink2)));
    }
    if (l[r] == 0.0f) continue;  // nothing visible in the span
    float* out = total.acc + r * b.v_stride;
    const float* from = acc + r * stride;
    if (total.l[r] == 0.0f) {
      total.m[r] = m[r];
      total.l[r] = l[r];
      for (int64_t d = 0; d < b.v_stride; d += 16) Store(out + d, Load(from + d));
      continue;
    }
    total.m[r] = m_new[r % 16];
    total.l[r] = l_new[r % 16];
    const V16 x = Set(a[r % 16]), y = Set(c[r % 16]);
    for (int64_t d = 0; d < b.v_stride; d += 16) {
      Store(out + d, Fma(Load(out + d), x, Mul(Load(from + d), y)));
    }
  }
}

RILL_INLINE void FinishRows(const AttentionBlock& b, const SoftmaxState& total) {
  for (int r = 0; r < b.num_rows; ++r) {
    const V16 l = Set(total.l[r]);
    const bool none = total.l[r] == 0.0f;
    for (int64_t d = 0; d < b.v_dim; d += 16) {
      const V16 v = none ? Set(0.0f) : Div(Load(total.acc + r * b.v_stride + d), l);
      if (b.v_dim - d >= 16) {
        Store(b.y[r] + d, v);
      } else {
        StoreN(b.y[r] + d, v, b.v_dim - d);
      }
    }
  }
}

RILL_INLINE float* AlignedScratch(const AttentionBlock& b) {
  return reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(b.scratch) + 63) & ~uintptr_t{63});
}

RILL_INLINE float* Take(float*& at, int64_t floats) {
  float* taken = at;
  at += (floats + 15) / 16 * 16;
  return taken;
}

// Rows of queries to where Queries<T> reads them.
template <int T>
RILL_INLINE void PlaceQueries(const float* const* rows, int64_t k_dim, float* to) {
  if constexpr (Queries<T>::kByRows) {
    for (int t = 0; t < T; ++t, to += k_dim) {
      int64_t d = 0;
      for (; d + 16 <= k_dim; d += 16) Store(to + d, Load(rows[t] + d));
      for (; d < k_dim; ++d) to[d] = rows[t][d];
    }
  } else {
    for (int64_t d = 0; d < k_dim; ++d, to += T) {
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) to[t] = rows[t][d];
    }
  }
}

// The strips of the tile at p0 that any row sees; others are null: they are never read, their pages
// may be gone.
RILL_INLINE void FindStrips(const AttentionBlock& b, int32_t p0, int32_t first, int32_t last,
                            const std::byte** k, const std::byte** v) {
  for (int s = 0; s < 4; ++s) {
    const int32_t position = p0 + 16 * s;
    k[s] = v[s] = nullptr;
    if (position >= last || position + 16 <= first) continue;
    const std::byte* slab = b.slab0 + b.pages[position / b.page_size] * b.page_bytes;
    const int64_t in_page = position % b.page_size;
    k[s] = slab + in_page / 16 * b.k_strip_bytes;
    v[s] = slab + b.v_offset_bytes + in_page * b.v_row_bytes;
  }
}

template <class Kv>
void AttendSpans(AttentionBlock& b, int32_t span_begin, int32_t span_end, float* partials) {
  constexpr int kRows = AttentionBlock::kPaddedRows;
  // Rows of the last tile that nobody asked for repeat the last row; their results are dropped.
  const int last_tile = (b.num_rows - 1) / kAttentionRows * kAttentionRows;
  const int rows = last_tile + PaddedRows(b.num_rows - last_tile);
  int32_t first = INT32_MAX, last = 0;
  bool same_range = true;
  for (int r = 0; r < rows; ++r) {
    if (r >= b.num_rows) {
      const int from = b.num_rows - 1;
      b.q[r] = b.q[from];
      b.begin[r] = b.begin[from];
      b.end[r] = b.end[from];
      b.position[r] = b.position[from];
      b.slope[r] = b.slope[from];
      b.sink[r] = b.sink[from];
    }
    first = b.begin[r] < first ? b.begin[r] : first;
    last = b.end[r] > last ? b.end[r] : last;
    same_range = same_range && b.begin[r] == b.begin[0] && b.end[r] == b.end[0];
  }
  alignas(64) float m[2][kRows + 16], l[2][kRows + 16];
  for (int r = 0; r < rows + 16; r += 16) {  // whole vectors of them are read
    for (int i = 0; i < 2; ++i) {
      Store(m[i] + r, Set(0.0f));
      Store(l[i] + r, Set(0.0f));
    }
  }
  float* at = AlignedScratch(b);
  float* q = Take(at, int64_t{rows} * b.k_dim);
  float* p = Take(at, kAttentionRows * 64);
  const SoftmaxState span_state{m[0], l[0], Take(at, rows * b.v_stride)};
  const SoftmaxState total{m[1], l[1], Take(at, rows * b.v_stride)};
  // bf16 always: rare enough not to be compiled for every width.
  const bool convert = !Kv::kIsF32 && (Kv::kAlwaysConvert || rows > kAttentionRows || !same_range ||
                                       b.v_stride < 64);
  float* keys = Take(at, convert ? 64 * int64_t{b.k_dim} : 0);
  float* values = Take(at, convert ? 64 * b.v_stride : 0);

  for (int r0 = 0; r0 < rows; r0 += kAttentionRows) {
#define RILL_CALL(T) PlaceQueries<T>(b.q + r0, b.k_dim, q + r0 * int64_t{b.k_dim})
    RILL_ATTENTION_ROWS(rows - r0, RILL_CALL)
#undef RILL_CALL
  }
  const bool merge = partials == nullptr;
  if (merge) ResetState(b, total, rows, b.has_sinks);

  for (int32_t span = span_begin; span < span_end; ++span) {
    ResetState(b, span_state, rows, false);
    int32_t p0 = span * AttentionBlock::kSpan;
    int32_t stop = p0 + AttentionBlock::kSpan;
    if (p0 < first) p0 = first / 64 * 64;
    if (stop > last) stop = last;
    const std::byte *k_strips[4], *v_strips[4];
    FindStrips(b, p0, first, last, k_strips, v_strips);
    for (; p0 < stop; p0 += 64) {
      AttentionTile tile;
      tile.p0 = p0;
      tile.v_row_bytes = b.v_row_bytes;
      tile.v_code_bytes = b.v_code_bytes;
      for (int s = 0; s < 4; ++s) {
        tile.k_strips[s] = k_strips[s];
        tile.v_strips[s] = v_strips[s];
      }
      FindStrips(b, p0 + 64, first, last, k_strips, v_strips);
      // Of this context after this tile; below 0 where the last tile is not full. Then its strips
      // ask for the last of next_k: those before it were asked for by the tile before.
      const int strips_left = (last + 15) / 16 - (p0 + 64) / 16;
      for (int s = 0; s < 4; ++s) {
        tile.k_ask[s] = k_strips[s];
        tile.v_ask[s] = v_strips[s];
        if (s >= strips_left && tile.k_strips[s] != nullptr) {
          tile.k_ask[s] = b.next_k[s - strips_left];
          tile.v_ask[s] = b.next_v[s - strips_left];
        }
        if (tile.k_ask[s] == nullptr) {
          tile.k_ask[s] = reinterpret_cast<const std::byte*>(q);
          tile.v_ask[s] = reinterpret_cast<const std::byte*>(q);
        }
      }
      if (convert) {
        AttentionTile converted;
        ConvertTile<Kv>(b, tile, keys, values, converted);
        for (int r0 = 0; r0 < rows; r0 += kAttentionRows) {
#define RILL_CALL(T) \
  AttendTile<KvF32, T>(b, converted, span_state, r0, q + r0 * int64_t{b.k_dim}, p)
          RILL_ATTENTION_ROWS(rows - r0, RILL_CALL)
#undef RILL_CALL
        }
      } else if constexpr (!Kv::kAlwaysConvert) {
        for (int r0 = 0; r0 < rows; r0 += kAttentionRows) {
#define RILL_CALL(T) AttendTile<Kv, T>(b, tile, span_state, r0, q + r0 * int64_t{b.k_dim}, p)
          RILL_ATTENTION_ROWS(rows - r0, RILL_CALL)
#undef RILL_CALL
        }
      }
    }
    if (merge) {
      MergeRows(b, total, span_state.m, span_state.l, span_state.acc, b.v_stride);
      continue;
    }
    for (int r = 0; r < b.num_rows; ++r) {
      const float* acc = span_state.acc + r * b.v_stride;
      float* partial = partials + ((span - span_begin) * b.num_rows + r) * (b.v_stride + 2);
      for (int64_t d = 0; d < b.v_stride; d += 16) Store(partial + d, Load(acc + d));
      partial[b.v_stride] = span_state.m[r];
      partial[b.v_stride + 1] = span_state.l[r];
    }
  }
  if (merge) FinishRows(b, total);
}

void AttentionSpans(AttentionBlock& block, int32_t span_begin, int32_t span_end, float* partials) {
  switch (block.format) {
    case quant::KvFormat::kF32: return AttendSpans<KvF32>(block, span_begin, span_end, partials);
    case quant::KvFormat::kF16: return AttendSpans<KvF16>(block, span_begin, span_end, partials);
    case quant::KvFormat::kBF16: return AttendSpans<KvBf16>(block, span_begin, span_end, partials);
    case quant::KvFormat::kInt8: return AttendSpans<KvInt8>(block, span_begin, span_end, partials);
    case quant::KvFormat::kInt4: return AttendSpans<KvInt4>(block, span_begin, span_end, partials);
  }
}

void AttentionMerge(AttentionBlock& b, int32_t num_spans, const float* partials) {
  constexpr int kRows = AttentionBlock::kPaddedRows + 16;
  alignas(64) float total_m[kRows] = {}, total_l[kRows] = {}, m[kRows] = {}, l[kRows] = {};
  const SoftmaxState total{total_m, total_l, AlignedScratch(b)};
  const int64_t stride = b.v_stride + 2;
  ResetState(b, total, b.num_rows, b.has_sinks);
  for (int32_t span = 0; span < num_spans; ++span, partials += b.num_rows * stride) {
    for (int r = 0; r < b.num_rows; ++r) {
      m[r] = partials[r * stride + b.v_stride];
      l[r] = partials[r * stride + b.v_stride + 1];
    }
    MergeRows(b, total, m, l, partials, stride);
  }
  FinishRows(b, total);
}
