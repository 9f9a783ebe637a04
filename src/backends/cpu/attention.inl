// Attention of up to 24 query rows that share a KV head, over tiles of 64 absolute positions.
//
// Mapping: scores have 16 positions in the lanes (a K strip), outputs 16 head dimensions; up to 6
// rows share each loaded strip (12 accumulators on AVX2). Per tile and row:
//   s = scale * (fma chain over d); softcap; ALiBi; hidden positions -Inf
//   m' = max(m, max s); p = e^(s - m'), 0 where hidden; c = e^(m - m')
//   l = fma(l, c, sum p);  acc = acc * c, then fma(p, V, acc) over visible positions in ascending order
// Tiles without a visible position of the row are skipped, so nothing depends on who shares the
// block. V of hidden positions is not touched: it may hold anything.
// K and V are converted to f32 in registers as they are loaded (exact).

template <int kDType>  // 0: f32, 1: f16, 2: bf16
RILL_INLINE V16 LoadKv(const std::byte* base, int64_t element) {
  if constexpr (kDType == 0) {
    return Load(reinterpret_cast<const float*>(base) + element);
  } else if constexpr (kDType == 1) {
    return LoadF16(reinterpret_cast<const uint16_t*>(base) + element);
  } else {
    return LoadBf16(reinterpret_cast<const uint16_t*>(base) + element);
  }
}

// scores[t][16] of one strip; q is [k_dim][T].
template <int kDType, int T>
RILL_INLINE void StripScores(const std::byte* strip, int64_t k_dim, const float* q, float* scores) {
  V16 acc[T];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) acc[t] = Set(0.0f);
  for (int64_t d = 0; d < k_dim; ++d) {
    const V16 k = LoadKv<kDType>(strip, d * 16);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) acc[t] = Fma(k, Set(q[d * T + t]), acc[t]);
  }
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) Store(scores + 64 * t, acc[t]);
}

// acc[t] = fma(p[t][i], V[i], acc[t]) for i in [begin, end) of one 64-position tile.
template <int kDType, int T>
RILL_INLINE void AccumulateV(const std::byte* const* strips, int64_t v_stride, int64_t column,
                             const float* p, int begin, int end, V16* acc) {
  int i = begin;
  while (i < end) {
    const std::byte* strip = strips[i / 16];
    int stop = (i / 16 + 1) * 16;
    if (stop > end) stop = end;
    for (; i < stop; ++i) {
      const V16 v = LoadKv<kDType>(strip, (i % 16) * v_stride + column);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) acc[t] = Fma(Set(p[64 * t + i]), v, acc[t]);
    }
  }
}

template <int kDType>
struct AttentionState {
  const AttentionBlock* block;
  const float* q;        // tiles of kTile rows, [k_dim][T] each
  float* acc;            // [rows][v_padded]
  float* p;              // [rows][64]
  float m[AttentionBlock::kMaxRows];
  float l[AttentionBlock::kMaxRows];
  const std::byte* k_strips[4];
  const std::byte* v_strips[4];
};

// Rows [r0, r0 + T) over the tile that begins at position p0.
template <int kDType, int T>
void AttentionTile(AttentionState<kDType>& state, int r0, int32_t p0) {
  const AttentionBlock& b = *state.block;
  int begin[T], end[T];
  int first = 64, last = 0;
  for (int t = 0; t < T; ++t) {
    const int r = r0 + t;
    begin[t] = b.begin[r] > p0 ? b.begin[r] - p0 : 0;
    end[t] = b.end[r] - p0 < 64 ? b.end[r] - p0 : 64;
    if (begin[t] >= end[t]) {
      begin[t] = end[t] = 0;
      continue;
    }
    first = begin[t] < first ? begin[t] : first;
    last = end[t] > last ? end[t] : last;
  }
  if (first >= last) return;
  float* p = state.p + 64 * r0;
  const int strip0 = first / 16, strip1 = (last + 15) / 16;
  for (int s = strip0; s < strip1; ++s) {
    StripScores<kDType, T>(state.k_strips[s], b.k_dim, state.q + int64_t{r0} * b.k_dim, p + 16 * s);
  }

  alignas(64) static constexpr int32_t kIota[16] = {0, 1, 2,  3,  4,  5,  6,  7,
                                                    8, 9, 10, 11, 12, 13, 14, 15};
  const I32 iota = LoadI(kIota);
  const V16 hidden = Set(-__builtin_inff());
  float correction[T];
  for (int t = 0; t < T; ++t) {
    correction[t] = 1.0f;
    if (begin[t] >= end[t]) continue;
    const int r = r0 + t;
    float* s = p + 64 * t;
    V16 best = hidden;
    for (int strip = strip0; strip < strip1; ++strip) {
      V16 v = Mul(Load(s + 16 * strip), Set(b.score_scale));
      if (b.softcap > 0.0f) v = Mul(Tanh(Div(v, Set(b.softcap))), Set(b.softcap));
      const I32 index = AddI(iota, SetI(16 * strip));
      if (b.has_alibi) {
        const I32 distance = AddI(index, SetI(p0 - b.position[r]));
        v = Fma(Set(b.slope[r]), ToFloat(distance), v);
      }
      v = Select(LtI(index, SetI(begin[t])), hidden, v);
      v = Select(LtI(index, SetI(end[t])), v, hidden);
      best = Max(v, best);
      Store(s + 16 * strip, v);
    }
    const float tile_max = ReduceMax(best);
    const float m = state.m[r] > tile_max ? state.m[r] : tile_max;
    const V16 m_v = Set(m);
    V16 sum = Set(0.0f);
    for (int strip = strip0; strip < strip1; ++strip) {
      const V16 v = Load(s + 16 * strip);
      const I32 index = AddI(iota, SetI(16 * strip));
      V16 e = Exp(Sub(v, m_v));
      e = Select(LtI(index, SetI(begin[t])), Set(0.0f), e);
      e = Select(LtI(index, SetI(end[t])), e, Set(0.0f));
      sum = Add(sum, e);
      Store(s + 16 * strip, e);
    }
    alignas(64) float c[16];
    Store(c, Exp(Sub(Set(state.m[r]), m_v)));
    correction[t] = state.l[r] == 0.0f ? 0.0f : c[0];
    state.l[r] = __builtin_fmaf(state.l[r], correction[t], ReduceAdd(sum));
    state.m[r] = m;
  }

  // Positions that all rows see run together; what only some see runs row by row around them.
  int common_begin = 0, common_end = 64;
  for (int t = 0; t < T; ++t) {
    common_begin = begin[t] > common_begin ? begin[t] : common_begin;
    common_end = end[t] < common_end ? end[t] : common_end;
  }
  if (common_end < common_begin) common_end = common_begin = 64;
  const int64_t v_padded = (int64_t{b.v_dim} + 15) / 16 * 16;
  for (int64_t column = 0; column < v_padded; column += 16) {
    V16 acc[T];
    float* out = state.acc + r0 * v_padded + column;
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      acc[t] = Load(out + t * v_padded);
      if (begin[t] < end[t]) acc[t] = Mul(acc[t], Set(correction[t]));
    }
    for (int t = 0; t < T; ++t) {
      const int stop = end[t] < common_begin ? end[t] : common_begin;
      if (begin[t] < stop) {
        AccumulateV<kDType, 1>(state.v_strips, b.v_stride, column, p + 64 * t, begin[t], stop,
                               acc + t);
      }
    }
    AccumulateV<kDType, T>(state.v_strips, b.v_stride, column, p, common_begin, common_end, acc);
    for (int t = 0; t < T; ++t) {
      const int start = begin[t] > common_end ? begin[t] : common_end;
      if (start < end[t]) {
        AccumulateV<kDType, 1>(state.v_strips, b.v_stride, column, p + 64 * t, start, end[t],
                               acc + t);
      }
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) Store(out + t * v_padded, acc[t]);
  }
}

template <int kDType>
void AttentionOf(const AttentionBlock& b) {
  AttentionState<kDType> state;
  state.block = &b;
  const int64_t v_padded = (int64_t{b.v_dim} + 15) / 16 * 16;
  float* q = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(b.scratch) + 63) & ~uintptr_t{63});
  state.q = q;
  state.p = q + ((int64_t{b.num_rows} * b.k_dim + 15) & ~int64_t{15});
  state.acc = state.p + b.num_rows * 64;
  int32_t first = INT32_MAX, last = 0;
  for (int r = 0; r < b.num_rows; ++r) {
    state.m[r] = b.has_sinks ? b.sink[r] : -__builtin_inff();
    state.l[r] = b.has_sinks ? 1.0f : 0.0f;
    first = b.begin[r] < first ? b.begin[r] : first;
    last = b.end[r] > last ? b.end[r] : last;
    const int r0 = r / kTile * kTile;
    const int width = b.num_rows - r0 < kTile ? b.num_rows - r0 : kTile;
    for (int64_t d = 0; d < b.k_dim; ++d) q[r0 * b.k_dim + d * width + r - r0] = b.q[r][d];
    for (int64_t d = 0; d < v_padded; d += 16) Store(state.acc + r * v_padded + d, Set(0.0f));
  }
  constexpr int kElementBytes = kDType == 0 ? 4 : 2;
  for (int32_t p0 = first / 64 * 64; p0 < last; p0 += 64) {
    for (int s = 0; s < 4; ++s) {
      const int32_t position = p0 + 16 * s;
      // Strips outside every row's range are never read; their pages may be gone.
      if (position >= last || position + 16 <= first) {
        state.k_strips[s] = state.v_strips[s] = nullptr;
        continue;
      }
      const std::byte* slab = b.slab0 + b.pages[position / b.page_size] * b.page_bytes;
      const int64_t in_page = position % b.page_size;
      state.k_strips[s] = slab + in_page * b.k_dim * kElementBytes;
      state.v_strips[s] = slab + b.v_offset_bytes + in_page * b.v_stride * kElementBytes;
    }
    for (int r = 0; r < b.num_rows; r += kTile) {
#define RILL_CALL(T) AttentionTile<kDType, T>(state, r, p0)
      RILL_WIDTHS(b.num_rows - r, RILL_CALL)
#undef RILL_CALL
    }
  }
  for (int r = 0; r < b.num_rows; ++r) {
    const V16 l = Set(state.l[r]);
    const bool none = state.l[r] == 0.0f;
    for (int64_t d = 0; d < b.v_dim; d += 16) {
      const V16 v = none ? Set(0.0f) : Div(Load(state.acc + r * v_padded + d), l);
      if (b.v_dim - d >= 16) {
        Store(b.y[r] + d, v);
      } else {
        StoreN(b.y[r] + d, v, b.v_dim - d);
      }
    }
  }
}

void AttentionRows(const AttentionBlock& block) {
  switch (block.kv_dtype) {
    case DType::kF32: return AttentionOf<0>(block);
    case DType::kBF16: return AttentionOf<2>(block);
    default: return AttentionOf<1>(block);
  }
}
