#include "sampling/exact_math.h"

namespace rill::sampling {

double Log(double x) {
  // x = m * 2^e with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s), s = (m - 1) / (m + 1).
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  int64_t e = static_cast<int64_t>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0xFFFFFFFFFFFFFu) | 0x3FF0000000000000u);
  if (m > 0x1.6a09e667f3bcdp0) {
    m *= 0.5;
    ++e;
  }
  const double s = (m - 1.0) / (m + 1.0);
  const double s2 = s * s;
  double sum = 0.0;
  // |s| <= 0.1716: the term after s^23 is below 2e-20.
  for (int k = 23; k >= 3; k -= 2) sum = (sum + 1.0 / k) * s2;
  return static_cast<double>(e) * 0x1.62e42fefa39efp-1 + 2.0 * (s + s * sum);
}

}  // namespace rill::sampling
