// The largest of a row of logits, and whether all of them are numbers.
#pragma once

#include <cstdint>
#include <span>

namespace rill::sampling {

// Index of the first NaN or infinity; -1 when there is none.
int64_t FirstNonFinite(std::span<const float> values);

// The largest value; -infinity for an empty row. No NaN may be among them.
float MaxOf(std::span<const float> values);

// Index of the largest value, the lowest such index; -1 for an empty row.
int64_t ArgMax(std::span<const float> values);

}  // namespace rill::sampling
