// What follows a matrix product: bias, scale, residual; the gated activation.

// Bias, scale and residual of one tile: y[t] = fma(scale, acc + bias, residual), each optional
// (scale == 1: plain sums, which are the same numbers). n <= 16 rows are stored. kPast: past the
// caches, where y is whole lines (kernels.h).
template <bool kPast>
void FinishTile(const float* acc, int width, int n, const float* bias, float scale,
                const float* residual, int64_t residual_stride, float* y, int64_t y_stride) {
  for (int t = 0; t < width; ++t) {
    V16 v = Load(acc + 16 * t);
    if (bias != nullptr) v = Add(v, n == 16 ? Load(bias) : LoadN(bias, n));
    if (residual != nullptr) {
      const float* r = residual + t * residual_stride;
      v = Fma(Set(scale), v, n == 16 ? Load(r) : LoadN(r, n));
    } else if (scale != 1.0f) {
      v = Mul(Set(scale), v);
    }
    if (kPast && n == 16) {
      StorePast(y + t * y_stride, v);
    } else if (n == 16) {
      Store(y + t * y_stride, v);
    } else {
      StoreN(y + t * y_stride, v, n);
    }
  }
}

// Bit t: not every element of row t [n], rows `stride` apart, is finite and below limit[t]. May be
// set for a row where all are, if n is no multiple of 16 and limit[t] is not above 0.
uint64_t RowsNotBelow(const float* y, int64_t stride, int width, int64_t n, const float* limit) {
  uint64_t rows = 0;
  for (int t = 0; t < width; ++t) {
    const float* row = y + t * stride;
    V16 largest = n < 16 ? LoadN(row, n) : Load(row);
    V16 finite = Set(0.0f);
    for (int64_t i = 0; i < n; i += 16) {
      const V16 v = i + 16 <= n ? Load(row + i) : LoadN(row + i, n - i);
      largest = Max(largest, v);
      finite = Add(finite, Sub(v, v));  // 0, or NaN
    }
    if (!All(Lt(Add(largest, finite), Set(limit[t])))) rows |= uint64_t{1} << t;
  }
  return rows;
}

template <ops::ActivationKind kind>
void FinishGluOf(const float* gate, const float* up, int width, int n, const float* gate_bias,
                 const float* up_bias, float* y, int64_t y_stride) {
  for (int t = 0; t < width; ++t) {
    V16 g = Load(gate + 16 * t), u = Load(up + 16 * t);
    if (gate_bias != nullptr) {
      g = Add(g, LoadN(gate_bias, n));
      u = Add(u, LoadN(up_bias, n));
    }
    const V16 v = Mul(Activate(kind, g), u);
    if (n == 16) {
      Store(y + t * y_stride, v);
    } else {
      StoreN(y + t * y_stride, v, n);
    }
  }
}
void FinishGlu(ops::ActivationKind kind, const float* gate, const float* up, int width, int n,
               const float* gate_bias, const float* up_bias, float* y, int64_t y_stride) {
#define RILL_CALL(k) FinishGluOf<k>(gate, up, width, n, gate_bias, up_bias, y, y_stride)
  RILL_EACH_KIND(RILL_CALL)
#undef RILL_CALL
}

// Calls CALL(T) with T = width, 1 … kTile (1 on scalar: wider tiles gain nothing there, and take
// the compiler minutes).
#define RILL_WIDTHS(width, CALL)                 \
  if constexpr (kTile == 1) {                    \
    CALL(1);                                     \
  } else {                                       \
    switch (width) {                             \
      case 1: CALL(1); break;                    \
      case 2: CALL((kTile < 2 ? 1 : 2)); break;  \
      case 3: CALL((kTile < 3 ? 1 : 3)); break;  \
      case 4: CALL((kTile < 4 ? 1 : 4)); break;  \
      case 5: CALL((kTile < 5 ? 1 : 5)); break;  \
      default: CALL((kTile < 6 ? 1 : 6)); break; \
    }                                            \
  }
