// Comparators: within a bound, and bit for bit.
#pragma once

#include <string>
#include <vector>

#include "conformance/case.h"

namespace rill::conformance {

// How far each element of each output may be from the reference; same order as Outputs().
using Bounds = std::vector<std::vector<double>>;

// The tolerance of every output element of a case, from its inputs: bounds.cc states the formulas.
// `outputs` are the reference's.
Bounds BoundsOf(const Case& test_case, const Instance& instance,
                const std::vector<Output>& outputs);

// "" when every element of `got` is within its bound of `expected`; else the worst element. Where
// the reference is not finite, `got` must not be finite either.
std::string CompareWithin(const std::vector<Output>& expected, const std::vector<Output>& got,
                          const Bounds& bounds);
// "" when equal bit for bit (any NaN equals any NaN); else the first difference.
std::string CompareBits(const std::vector<Output>& expected, const std::vector<Output>& got);

}  // namespace rill::conformance
