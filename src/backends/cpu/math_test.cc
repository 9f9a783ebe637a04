// Errors of the vector functions against f64 libm, and the same bits on every ISA.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "backends/cpu/kernels.h"

namespace rill::cpu {
namespace {

using RowFn = void (*)(const float*, float*, int64_t);

// Distance of `got` from the exact value, in units of the last place of the f32 nearest to it.
double UlpError(float got, double exact) {
  const float nearest = static_cast<float>(exact);
  if (std::isinf(nearest) || std::isinf(got)) return got == nearest ? 0 : 1e9;
  const float next = std::nextafterf(std::fabs(nearest), INFINITY);
  return std::fabs(static_cast<double>(got) - exact) /
         (static_cast<double>(next) - static_cast<double>(std::fabs(nearest)));
}

// Every 97th f32 bit pattern with |x| <= limit.
std::vector<float> Sweep(float limit) {
  std::vector<float> x;
  for (uint32_t bits = 0; bits <= std::bit_cast<uint32_t>(limit); bits += 1009) {
    x.push_back(std::bit_cast<float>(bits));
    x.push_back(-x.back());
  }
  while (x.size() % 16 != 3) x.push_back(1.0f);  // a tail, too
  return x;
}

double WorstUlp(RowFn fn, double (*exact)(double), float limit) {
  const std::vector<float> x = Sweep(limit);
  std::vector<float> y(x.size());
  fn(x.data(), y.data(), static_cast<int64_t>(x.size()));
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    worst = std::max(worst, UlpError(y[i], exact(static_cast<double>(x[i]))));
  }
  return worst;
}

TEST(CpuMath, Exp_IsWithinItsBound) {
  EXPECT_LE(WorstUlp(AvailableKernels().front()->exp, std::exp, 110.0f), 1.01);
}
TEST(CpuMath, ExpNormal_HasTheBitsOfExp) {
  std::vector<float> x = Sweep(87.0f);
  x.push_back(std::bit_cast<float>(0x7FFFFFFF));  // NaN with a payload in its low bits
  const int64_t n = static_cast<int64_t>(x.size());
  std::vector<float> y(x.size()), expected(x.size());
  for (const Kernels* k : AvailableKernels()) {
    k->exp(x.data(), expected.data(), n);
    k->exp_normal(x.data(), y.data(), n);
    size_t wrong = 0;
    for (size_t i = 0; i + 1 < x.size(); ++i) {
      wrong += std::bit_cast<uint32_t>(y[i]) != std::bit_cast<uint32_t>(expected[i]) ? 1 : 0;
    }
    EXPECT_EQ(wrong, 0u) << k->name;
    EXPECT_TRUE(std::isnan(y.back())) << k->name;
  }
}
TEST(CpuMath, Tanh_IsWithinTwoUlp) {
  EXPECT_LE(WorstUlp(AvailableKernels().front()->tanh, std::tanh, 20.0f), 2.0);
}
TEST(CpuMath, Erf_IsWithinTwoUlp) {
  EXPECT_LE(WorstUlp(AvailableKernels().front()->erf, std::erf, 10.0f), 2.0);
}

TEST(CpuMath, UlpError_SeesAPlantedError) {
  EXPECT_GT(UlpError(std::nextafterf(std::nextafterf(1.0f, 2.0f), 2.0f), 1.0), 1.9);
  EXPECT_EQ(UlpError(0.5f, 0.5), 0.0);
}

TEST(CpuMath, SpecialValues) {
  const float inf = INFINITY, nan = NAN;
  const Kernels& k = *AvailableKernels().front();
  const float x[5] = {inf, -inf, nan, 0.0f, -0.0f};
  float y[5];
  k.exp(x, y, 5);
  EXPECT_EQ(y[0], inf);
  EXPECT_EQ(y[1], 0.0f);
  EXPECT_TRUE(std::isnan(y[2]));
  EXPECT_EQ(y[3], 1.0f);
  k.tanh(x, y, 5);
  EXPECT_EQ(y[0], 1.0f);
  EXPECT_EQ(y[1], -1.0f);
  EXPECT_TRUE(std::isnan(y[2]));
  k.erf(x, y, 5);
  EXPECT_EQ(y[0], 1.0f);
  EXPECT_EQ(y[1], -1.0f);
  EXPECT_TRUE(std::isnan(y[2]));
  for (int kind = 0; kind <= 6; ++kind) {
    const auto activation = static_cast<ops::ActivationKind>(kind);
    k.activation(activation, x, y, 5);
    EXPECT_EQ(y[0], inf) << kind;
    EXPECT_EQ(y[1], activation == ops::ActivationKind::kIdentity ? -inf : 0.0f) << kind;
    EXPECT_TRUE(std::isnan(y[2])) << kind;
    EXPECT_EQ(y[3], 0.0f) << kind;
  }
}

TEST(CpuMath, EveryIsa_GivesTheSameBits) {
  const std::vector<const Kernels*> isas = AvailableKernels();
  const std::vector<float> x = Sweep(120.0f);
  const auto n = static_cast<int64_t>(x.size());
  for (const Kernels* isa : isas) {
    for (RowFn Kernels::* fn : {&Kernels::exp, &Kernels::tanh, &Kernels::erf}) {
      std::vector<float> a(x.size()), b(x.size());
      (isas.front()->*fn)(x.data(), a.data(), n);
      (isa->*fn)(x.data(), b.data(), n);
      for (size_t i = 0; i < a.size(); ++i) {
        ASSERT_EQ(std::bit_cast<uint32_t>(a[i]), std::bit_cast<uint32_t>(b[i]))
            << isa->name << " at " << x[i];
      }
    }
  }
}

}  // namespace
}  // namespace rill::cpu
