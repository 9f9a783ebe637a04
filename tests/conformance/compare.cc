#include "conformance/compare.h"

#include <bit>
#include <cmath>
#include <sstream>

namespace rill::conformance {
namespace {

std::string SizesDiffer(const std::vector<Output>& expected, const std::vector<Output>& got) {
  if (expected.size() != got.size()) return "a different number of outputs";
  for (size_t i = 0; i < got.size(); ++i) {
    if (expected[i].values.size() != got[i].values.size()) return got[i].param + ": sizes differ";
  }
  return "";
}

}  // namespace

std::string CompareWithin(const std::vector<Output>& expected, const std::vector<Output>& got,
                          const Bounds& bounds) {
  const std::string sizes = SizesDiffer(expected, got);
  if (!sizes.empty()) return sizes;
  double worst = 0;
  std::ostringstream text;
  text.precision(9);
  for (size_t i = 0; i < got.size(); ++i) {
    for (size_t j = 0; j < got[i].values.size(); ++j) {
      const double a = expected[i].values[j], b = got[i].values[j];
      double excess = 0;  // of the error over the bound, as a multiple; > 1 is a failure
      if (!std::isfinite(a) || !std::isfinite(b)) {
        excess = std::isfinite(a) == std::isfinite(b) ? 0 : HUGE_VAL;
      } else if (a != b) {
        excess = std::fabs(a - b) / bounds[i][j];
      }
      if (!(excess <= 1) && !(excess <= worst)) {
        worst = excess;
        text.str("");
        text << got[i].param << "[" << j << "]: expected " << a << " +- " << bounds[i][j]
             << ", got " << b << " (" << excess << " times the bound)";
      }
    }
  }
  return text.str();
}

std::string CompareBits(const std::vector<Output>& expected, const std::vector<Output>& got) {
  const std::string sizes = SizesDiffer(expected, got);
  if (!sizes.empty()) return sizes;
  for (size_t i = 0; i < got.size(); ++i) {
    for (size_t j = 0; j < got[i].values.size(); ++j) {
      const float a = expected[i].values[j], b = got[i].values[j];
      if (std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b)) continue;
      if (std::isnan(a) && std::isnan(b)) continue;
      std::ostringstream text;
      text.precision(9);
      text << got[i].param << "[" << j << "]: bits differ: " << a << " and " << b;
      return text.str();
    }
  }
  return "";
}

}  // namespace rill::conformance
