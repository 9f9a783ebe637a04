// Small helpers of WeightSet, shared by its files.
#pragma once

#include <string>
#include <string_view>

#include "tensor/tensor_view.h"

namespace rill::model {

// `pattern` with its first "{}" replaced by `index`.
std::string WithIndex(std::string_view pattern, int64_t index);

// Rows [begin, begin + count) of [N, K] or, of each expert, of [num_experts, N, K]; no copy.
TensorView RowSlice(const TensorView& view, int64_t begin, int64_t count);

// Elements [begin, begin + count) of a contiguous tensor of a plain type.
TensorView FlatSlice(const TensorView& view, int64_t begin, int64_t count);

}  // namespace rill::model
