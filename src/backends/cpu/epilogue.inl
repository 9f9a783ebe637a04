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
