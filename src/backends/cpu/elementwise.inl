// Rows of elements: activations, sums, norms, softmax, rope. Bound by memory; one pass each (norms
// two). Reductions have the canonical order: lane j takes elements j, j + 16, …, then a fixed tree.

#ifndef RILL_HAS_LANES_N
// The first n <= 16 elements, zeros behind. By fours: GCC makes `rep movs` of a plain loop.
RILL_INLINE void CopyN(float* to, const float* from, int64_t n) {
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) __builtin_memcpy(to + i, from + i, 16);
  if (n & 2) {
    __builtin_memcpy(to + i, from + i, 8);
    i += 2;
  }
  if (n & 1) to[i] = from[i];
}
RILL_INLINE V16 LoadN(const float* p, int64_t n) {
  if (n == 16) return Load(p);
  alignas(64) float buffer[16] = {};
  CopyN(buffer, p, n);
  return Load(buffer);
}
RILL_INLINE void StoreN(float* p, V16 v, int64_t n) {
  if (n == 16) return Store(p, v);
  alignas(64) float buffer[16];
  Store(buffer, v);
  CopyN(p, buffer, n);
}
#endif

// y[i] = body(i, load, …): `in(p)` loads the lanes at p + i. Written as a macro because lambdas do
// not inherit the target region in every compiler.
#define RILL_EACH(n, y, expression)      \
  int64_t i = 0;                         \
  for (; i + 16 <= (n); i += 16) {       \
    const int64_t left = 16;             \
    Store((y) + i, (expression));        \
    (void)left;                          \
  }                                      \
  if (i < (n)) {                         \
    const int64_t left = (n) - i;        \
    StoreN((y) + i, (expression), left); \
  }
#define RILL_IN(p) (left == 16 ? Load((p) + i) : LoadN((p) + i, left))

template <ops::ActivationKind kind>
void ActivationOf(const float* x, float* y, int64_t n) {
  RILL_EACH(n, y, Activate(kind, RILL_IN(x)))
}
template <ops::ActivationKind kind>
void GluOf(const float* gate, const float* up, float* y, int64_t n) {
  RILL_EACH(n, y, Mul(Activate(kind, RILL_IN(gate)), RILL_IN(up)))
}

#define RILL_EACH_KIND(call)                                                            \
  switch (kind) {                                                                       \
    case ops::ActivationKind::kSilu: return call(ops::ActivationKind::kSilu);           \
    case ops::ActivationKind::kGelu: return call(ops::ActivationKind::kGelu);           \
    case ops::ActivationKind::kGeluTanh: return call(ops::ActivationKind::kGeluTanh);   \
    case ops::ActivationKind::kQuickGelu: return call(ops::ActivationKind::kQuickGelu); \
    case ops::ActivationKind::kRelu: return call(ops::ActivationKind::kRelu);           \
    case ops::ActivationKind::kRelu2: return call(ops::ActivationKind::kRelu2);         \
    case ops::ActivationKind::kIdentity: return call(ops::ActivationKind::kIdentity);   \
  }

void ActivationRow(ops::ActivationKind kind, const float* x, float* y, int64_t n) {
#define RILL_CALL(k) ActivationOf<k>(x, y, n)
  RILL_EACH_KIND(RILL_CALL)
#undef RILL_CALL
}
void GluRow(ops::ActivationKind kind, const float* gate, const float* up, float* y, int64_t n) {
#define RILL_CALL(k) GluOf<k>(gate, up, y, n)
  RILL_EACH_KIND(RILL_CALL)
#undef RILL_CALL
}
void AddRow(const float* a, const float* b, float b_scale, float* y, int64_t n) {
  RILL_EACH(n, y, Fma(Set(b_scale), RILL_IN(b), RILL_IN(a)))
}
void ScaleRow(const float* x, float factor, float* y, int64_t n) {
  RILL_EACH(n, y, Mul(RILL_IN(x), Set(factor)))
}
// Min and Max give their second operand when one is NaN.
void ClampRow(const float* x, float limit, float* y, int64_t n) {
  RILL_EACH(n, y, Max(Set(-limit), Min(Set(limit), RILL_IN(x))))
}
void SoftcapRow(const float* x, float cap, float* y, int64_t n) {
  RILL_EACH(n, y, Mul(Tanh(Div(RILL_IN(x), Set(cap))), Set(cap)))
}
void ExpRow(const float* x, float* y, int64_t n) {
  RILL_EACH(n, y, Exp(RILL_IN(x)))
}
void ExpNormalRow(const float* x, float* y, int64_t n) {
  RILL_EACH(n, y, ExpNormal(RILL_IN(x)))
}
void TanhRow(const float* x, float* y, int64_t n) {
  RILL_EACH(n, y, Tanh(RILL_IN(x)))
}
void ErfRow(const float* x, float* y, int64_t n) {
  RILL_EACH(n, y, Erf(RILL_IN(x)))
}
void AxpyRow(float a, const float* x, float* y, int64_t n) {
  RILL_EACH(n, y, Fma(Set(a), RILL_IN(x), RILL_IN(y)))
}

// y = (x * (1 / sqrt(mean(x^2) + eps))) * (weight + weight_bias)
void RmsNormRow(const float* x, const float* weight, float eps, float weight_bias, float* y,
                int64_t n) {
  V16 sum = Set(0.0f);
  int64_t j = 0;
  for (; j + 16 <= n; j += 16) {
    const V16 v = Load(x + j);
    sum = Fma(v, v, sum);
  }
  if (j < n) {
    const V16 v = LoadN(x + j, n - j);
    sum = Fma(v, v, sum);
  }
  const float mean = ReduceAdd(sum) / static_cast<float>(n);
  const V16 inverse = Set(1.0f / __builtin_sqrtf(mean + eps));
  if (weight == nullptr) {
    const V16 factor = Set(1.0f + weight_bias);
    RILL_EACH(n, y, Mul(Mul(RILL_IN(x), inverse), factor))
    return;
  }
  const V16 bias = Set(weight_bias);
  RILL_EACH(n, y, Mul(Mul(RILL_IN(x), inverse), Add(RILL_IN(weight), bias)))
}

// y = fma((x - mean) * (1 / sqrt(var + eps)), weight, bias)
void LayerNormRow(const float* x, const float* weight, const float* bias, float eps, float* y,
                  int64_t n) {
  V16 sum = Set(0.0f);
  int64_t j = 0;
  for (; j + 16 <= n; j += 16) sum = Add(sum, Load(x + j));
  if (j < n) sum = Add(sum, LoadN(x + j, n - j));
  const float mean = ReduceAdd(sum) / static_cast<float>(n);
  const V16 mean_v = Set(mean);
  V16 squares = Set(0.0f);
  for (j = 0; j + 16 <= n; j += 16) {
    const V16 d = Sub(Load(x + j), mean_v);
    squares = Fma(d, d, squares);
  }
  if (j < n) {
    alignas(64) float buffer[16];
    for (int64_t l = 0; l < 16; ++l) buffer[l] = l < n - j ? x[j + l] : mean;
    const V16 d = Sub(Load(buffer), mean_v);
    squares = Fma(d, d, squares);
  }
  const float variance = ReduceAdd(squares) / static_cast<float>(n);
  const V16 inverse = Set(1.0f / __builtin_sqrtf(variance + eps));
  if (weight != nullptr && bias != nullptr) {
    RILL_EACH(n, y, Fma(Mul(Sub(RILL_IN(x), mean_v), inverse), RILL_IN(weight), RILL_IN(bias)))
  } else if (weight != nullptr) {
    RILL_EACH(n, y, Mul(Mul(Sub(RILL_IN(x), mean_v), inverse), RILL_IN(weight)))
  } else if (bias != nullptr) {
    RILL_EACH(n, y, Add(Mul(Sub(RILL_IN(x), mean_v), inverse), RILL_IN(bias)))
  } else {
    RILL_EACH(n, y, Mul(Sub(RILL_IN(x), mean_v), inverse))
  }
}

// e^(x - max) / sum, max and sum in the canonical order.
void SoftmaxRow(const float* x, float* y, int64_t n) {
  const float infinity = __builtin_inff();
  V16 best = Set(-infinity);
  int64_t j = 0;
  for (; j + 16 <= n; j += 16) best = Max(best, Load(x + j));
  if (j < n) {
    alignas(64) float buffer[16];
    for (int64_t l = 0; l < 16; ++l) buffer[l] = l < n - j ? x[j + l] : -infinity;
    best = Max(best, Load(buffer));
  }
  const V16 max_v = Set(ReduceMax(best));
  V16 sum = Set(0.0f);
  for (j = 0; j + 16 <= n; j += 16) {
    const V16 e = Exp(Sub(Load(x + j), max_v));
    Store(y + j, e);
    sum = Add(sum, e);
  }
  if (j < n) {
    StoreN(y + j, Exp(Sub(LoadN(x + j, n - j), max_v)), n - j);
    sum = Add(sum, LoadN(y + j, n - j));
  }
  const V16 total = Set(ReduceAdd(sum));
  RILL_EACH(n, y, Div(RILL_IN(y), total))
}

// One head. The pair (a, b): a' = fma(a, cos, -(b * sin)), b' = fma(b, cos, a * sin).
void RopeHalves(float* x, const float* cos, const float* sin, int64_t rotary_dim) {
  const int64_t half = rotary_dim / 2;
  const V16 zero = Set(-0.0f);
  for (int64_t i = 0; i < half; i += 16) {
    const int64_t n = half - i < 16 ? half - i : 16;
    float* pa = x + i;
    float* pb = x + half + i;
    const V16 a = LoadN(pa, n), b = LoadN(pb, n), c = LoadN(cos + i, n), s = LoadN(sin + i, n);
    StoreN(pa, Fma(a, c, Sub(zero, Mul(b, s))), n);
    StoreN(pb, Fma(b, c, Mul(a, s)), n);
  }
}

// Both elements of a pair in one formula: x * [c, c] + [x1, x0] * [-s, s]. The same bits as
// RopeHalves's, as -(b * s) = b * -s.
void RopePairs(float* x, const float* cos_sin, int64_t rotary_dim) {
  alignas(64) static constexpr float kSigns[16] = {-1, 1, -1, 1, -1, 1, -1, 1,
                                                   -1, 1, -1, 1, -1, 1, -1, 1};
  const V16 signs = Load(kSigns);
  const M16 is_first = Lt(signs, Set(0.0f));
  for (int64_t i = 0; i < rotary_dim; i += 16) {
    const int64_t n = rotary_dim - i < 16 ? rotary_dim - i : 16;
    const V16 v = LoadN(x + i, n), p = LoadN(cos_sin + i, n);
    const V16 other = FromBits(SwapLanes<1>(Bits(v))), q = FromBits(SwapLanes<1>(Bits(p)));
    const V16 c = Select(is_first, p, q), s = Mul(Select(is_first, q, p), signs);
    StoreN(x + i, Fma(v, c, Mul(other, s)), n);
  }
}

void ToF16Row(const float* x, uint16_t* y, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) StoreF16(y + i, Load(x + i));
  if (i < n) {
    uint16_t buffer[16];
    StoreF16(buffer, LoadN(x + i, n - i));
    for (int64_t l = 0; i + l < n; ++l) y[i + l] = buffer[l];
  }
}
