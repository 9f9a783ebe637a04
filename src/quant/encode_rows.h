// Weights quantised at load, without calibration: RowReaders over rows of a plain type.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "quant/row_reader.h"
#include "rill/status.h"

namespace rill::quant {

// int8 per row ("channel"): with m = max |w[n, :]| in f32,
//   scale[n] = m / 127,  q[n, k] = round_to_nearest_even(w[n, k] * (127 / m)) in [-127, 127];
//   m < 2^-100 counts as 0 (scale 0, codes 0); a row with a NaN or Inf has scale NaN, codes 0.
// Rows of dtype i8 with their scales.
// Errors: kUnsupported for more than 131,072 columns: a sum of that many products fits int32.
Result<std::shared_ptr<const RowReader>> MakeW8Rows(std::shared_ptr<const RowReader> rows);

// 4 bits in groups of 128, or 64 or 32 where that is the largest of them that divides a row, as
// EncodeU4G128 (quantize.h) rounds them. A group with a NaN, an Inf, or a magnitude from kW4Limit
// on, is NaN: FindTooLargeForW4 tells the latter from what is damaged. Errors: kUnsupported when a
// row is no multiple of 32.
Result<std::shared_ptr<const RowReader>> MakeW4Rows(std::shared_ptr<const RowReader> rows);

// The scale of a group is an eighth of its largest magnitude; from 65520 on an f16 rounds to Inf.
inline constexpr float kW4Limit = 8 * 65520.0f;

// A finite weight that MakeW4Rows cannot hold: the first one by expert, row and column.
struct LargeWeight {
  int64_t expert = 0, row = 0, col = 0;
  float value = 0;
};
// Of rows of a plain type; reads all of them where that type reaches beyond kW4Limit (bf16, f32,
// f64).
std::optional<LargeWeight> FindTooLargeForW4(const RowReader& rows);

inline constexpr int64_t kMaxW8Columns = 131'072;

}  // namespace rill::quant
