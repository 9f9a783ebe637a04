// exp, tanh and erf over V16, with explicit fma: the same bits on every ISA.
//
// Worst errors over all f32 in range, against f64 libm (math_test.cc asserts them):
//   Exp 1.01 ulp, subnormal results included;  Tanh 2 ulp;  Erf 2 ulp.
// NaN in, NaN out. Coefficients: minimax fits of our own, computed in f64.

RILL_INLINE V16 Abs(V16 x) {
  return FromBits(AndI(Bits(x), SetI(0x7FFFFFFF)));
}
RILL_INLINE V16 CopySign(V16 magnitude, V16 sign) {
  return FromBits(OrI(AndI(Bits(magnitude), SetI(0x7FFFFFFF)),
                      AndI(Bits(sign), SetI(static_cast<int32_t>(0x80000000u)))));
}

// e^r = 1 + r + r^2 P(r), |r| <= ln2 / 2.
RILL_INLINE V16 ExpPolynomial(V16 r) {
  V16 p = Set(0x1.6dbc64p-10f);
  p = Fma(p, r, Set(0x1.124148p-7f));
  p = Fma(p, r, Set(0x1.555454p-5f));
  p = Fma(p, r, Set(0x1.555486p-3f));
  p = Fma(p, r, Set(0.5f));
  p = Fma(Mul(p, r), r, r);
  return Add(p, Set(1.0f));
}

// e^x = 2^n e^r. Results below the smallest normal number
// are rounded once.
RILL_INLINE V16 Exp(V16 x) {
  const V16 clamped = Min(Set(90.0f), Max(Set(-106.0f), x));  // this order keeps NaN
  const V16 n = Round(Mul(clamped, Set(0x1.715476p+0f)));
  V16 r = Fnma(n, Set(0x1.62e400p-1f), clamped);  // ln2 high: 15 bits, n * it is exact
  r = Fnma(n, Set(0x1.7f7d1cp-20f), r);           // ln2 low
  return ScaleByPowerOf2(ExpPolynomial(r), n);
}

// Exp for x in [-87, 87] or NaN, where e^x is a normal number: the same bits by one exact factor.
RILL_INLINE V16 ExpNormal(V16 x) {
  const V16 magic = Set(12582912.0f);  // 1.5 * 2^23: the sum's low bits are the rounded integer
  const V16 shifted = Add(Mul(x, Set(0x1.715476p+0f)), magic);
  const V16 n = Sub(shifted, magic);
  V16 r = Fnma(n, Set(0x1.62e400p-1f), x);
  r = Fnma(n, Set(0x1.7f7d1cp-20f), r);
  const V16 p = ExpPolynomial(r);
#ifdef RILL_HAS_SCALEF
  return ScaleByPowerOf2(p, n);
#else
  return Mul(p, FromBits(ShlI<23>(AddI(Bits(shifted), SetI(127)))));
#endif
}

// |x| < 0.625: x + x^3 P(x^2); above: 1 - 2 / (e^(2|x|) + 1).
RILL_INLINE V16 Tanh(V16 x) {
  const V16 a = Abs(x);
  const V16 s = Mul(x, x);
  V16 p = Set(0x1.12f3bep-9f);
  p = Fma(p, s, Set(-0x1.0a5ef8p-7f));
  p = Fma(p, s, Set(0x1.633b66p-6f));
  p = Fma(p, s, Set(-0x1.b9e782p-5f));
  p = Fma(p, s, Set(0x1.111044p-3f));
  p = Fma(p, s, Set(-0x1.555554p-2f));
  const V16 small = Fma(Mul(p, s), x, x);
  const V16 e = Exp(Add(a, a));
  const V16 large = Sub(Set(1.0f), Div(Set(2.0f), Add(e, Set(1.0f))));
  return Select(Lt(a, Set(0.625f)), small, CopySign(large, x));
}

// |x| < 0.9375: x + x P(x^2); above: 1 - e^R(|x|), R a fit of log erfc on [0.9, 4].
RILL_INLINE V16 Erf(V16 x) {
  const V16 s = Mul(x, x);
  V16 p = Set(0x1.589466p-14f);
  p = Fma(p, s, Set(-0x1.a8fc68p-11f));
  p = Fma(p, s, Set(0x1.54a490p-8f));
  p = Fma(p, s, Set(-0x1.b80b0ep-6f));
  p = Fma(p, s, Set(0x1.ce2de2p-4f));
  p = Fma(p, s, Set(-0x1.812742p-2f));
  p = Fma(p, s, Set(0x1.06eba8p-3f));
  const V16 small = Fma(p, x, x);
  const V16 t = Min(Set(4.0f), Abs(x));
  V16 r = Set(-0x1.8beb3ep-21f);
  r = Fma(r, t, Set(-0x1.7b8bc0p-17f));
  r = Fma(r, t, Set(0x1.8d40b0p-12f));
  r = Fma(r, t, Set(-0x1.05c1e6p-8f));
  r = Fma(r, t, Set(0x1.95e7d6p-6f));
  r = Fma(r, t, Set(-0x1.b9c988p-4f));
  r = Fma(r, t, Set(-0x1.446f84p-1f));
  r = Fma(r, t, Set(-0x1.211f2ap+0f));
  r = Fma(r, t, Set(0x1.3bdc1ep-13f));
  const V16 large = Sub(Set(1.0f), Exp(r));
  return Select(Lt(Abs(x), Set(0.9375f)), small, CopySign(large, x));
}

// x / (1 + e^-x); silu(-Inf) = -0 (the -1e30 keeps it from becoming Inf / Inf).
RILL_INLINE V16 SiluScaled(V16 x, float beta) {
  const V16 finite = Max(Set(-1e30f), x);
  return Div(finite, Add(Set(1.0f), Exp(Mul(finite, Set(-beta)))));
}

RILL_INLINE V16 Activate(ops::ActivationKind kind, V16 x) {
  switch (kind) {
    case ops::ActivationKind::kSilu: return SiluScaled(x, 1.0f);
    case ops::ActivationKind::kQuickGelu: return SiluScaled(x, 1.702f);
    case ops::ActivationKind::kGelu: {
      const V16 finite = Max(Set(-1e30f), x);
      const V16 e = Erf(Mul(finite, Set(0x1.6a09e6p-1f)));
      return Mul(Mul(finite, Add(Set(1.0f), e)), Set(0.5f));
    }
    case ops::ActivationKind::kGeluTanh: {
      const V16 finite = Max(Set(-1e10f), x);
      const V16 cubic = Fma(Mul(Mul(finite, finite), finite), Set(0.044715f), finite);
      const V16 t = Tanh(Mul(cubic, Set(0x1.988454p-1f)));
      return Mul(Mul(finite, Add(Set(1.0f), t)), Set(0.5f));
    }
    case ops::ActivationKind::kRelu: return Max(Set(0.0f), x);  // this order keeps NaN
    case ops::ActivationKind::kRelu2: {
      const V16 positive = Max(Set(0.0f), x);
      return Mul(positive, positive);
    }
    case ops::ActivationKind::kIdentity: return x;
  }
  return x;
}
