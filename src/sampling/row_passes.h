// Passes over a whole row of logits, in the widest lanes that this CPU has.
//
// Results are the same bits in any width: floats are only compared, integer sums are exact, and the
// exponential never joins lanes.
#pragma once

#include <cstdint>
#include <span>

namespace rill::sampling {

// The first place with NaN or infinity, or -1.
int64_t FirstNonFinite(std::span<const float> values);

// The largest value; values are not NaN. -infinity for an empty row.
float MaxOf(std::span<const float> values);

// The first place of the largest value, or -1 for an empty row.
int64_t ArgMax(std::span<const float> values);

// The smallest value > -infinity, at most `start`.
float SmallestFinite(std::span<const float> values, float start);

// How many values are >= limit.
int64_t CountAtLeast(std::span<const float> values, float limit);

// The sum of weights[i] where values[i] >= limit, and how many there are.
struct Mass {
  uint64_t mass = 0;
  int64_t count = 0;
};
Mass MassAtLeast(std::span<const float> values, const uint64_t* weights, float limit);

// Writes the places with low <= value < high, in order, to out [values.size()]; returns how many.
int64_t PlacesBetween(std::span<const float> values, float low, float high, int32_t* out);

// weights[i] = ExpWeight(logits[i], …) (exact_math.h); returns their sum.
uint64_t ExpWeights(std::span<const float> logits, double max, double inv_temperature,
                    uint64_t* weights);

}  // namespace rill::sampling
