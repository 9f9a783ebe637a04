// exp and log for sampling: the same bits on every machine.
//
// Built from IEEE add, multiply and divide only (the build forbids contraction), written so that
// compilers can put neighbouring elements into vector lanes: lanes never mix, so the width does not
// enter the result.
#pragma once

#include <bit>
#include <cstdint>

namespace rill::sampling {

// A token's probability, up to a common factor, as an integer: sums are exact in any order.
//   weight = round(2^43 * exp((logit - max) * inv_temperature))
// 2^43 times a vocabulary of at most 2^20 fits 64 bits. Relative error of exp: below 1e-11; tokens
// less likely than 2^-44 of the most likely one have weight 0.
inline constexpr int kWeightBits = 43;
inline constexpr uint64_t kMaxWeight = uint64_t{1} << kWeightBits;

inline uint64_t ExpWeight(float logit, double max, double inv_temperature) {
  // exp(x) = 2^n * e^(r ln 2), n integer, |r| <= 1/2. Below -40 the weight rounds to 0.
  double x = (static_cast<double>(logit) - max) * inv_temperature;
  x = x > -40.0 ? x : -40.0;
  constexpr double kRound = 0x1.8p52;        // adding it leaves the nearest integer in the low bits
  const double z = x * 0x1.71547652b82fep0;  // log2(e)
  const double shifted = z + kRound;
  const double t = (z - (shifted - kRound)) * 0x1.62e42fefa39efp-1;  // ln 2
  // Taylor, degree 10: |t| <= 0.347, the next term is below 2.2e-13.
  double p = 1.0 / 3628800.0;
  p = p * t + 1.0 / 362880.0;
  p = p * t + 1.0 / 40320.0;
  p = p * t + 1.0 / 5040.0;
  p = p * t + 1.0 / 720.0;
  p = p * t + 1.0 / 120.0;
  p = p * t + 1.0 / 24.0;
  p = p * t + 1.0 / 6.0;
  p = p * t + 0.5;
  p = p * t + 1.0;
  p = p * t + 1.0;
  const uint64_t scale = (std::bit_cast<uint64_t>(shifted) + 1023 + kWeightBits) << 52;
  const double value = p * std::bit_cast<double>(scale);
  constexpr double kToInteger = 0x1p52;  // one unit in the last place is 1
  return std::bit_cast<uint64_t>(value + kToInteger) - std::bit_cast<uint64_t>(kToInteger);
}

// Natural logarithm of a finite x > 0, normal; relative error below 1e-15.
double Log(double x);

// log(weight / 2^43)
inline double LogOfWeight(uint64_t weight) {
  return Log(static_cast<double>(weight)) - kWeightBits * 0x1.62e42fefa39efp-1;
}

}  // namespace rill::sampling
