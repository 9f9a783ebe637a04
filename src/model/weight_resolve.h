// Small helpers of WeightSet, shared by its files.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "quant/row_reader.h"
#include "tensor/tensor_view.h"

namespace rill::model {

// `pattern` with its first "{}" replaced by `index`.
std::string WithIndex(std::string_view pattern, int64_t index);

// Rows [begin, begin + count) of [N, K] or, of each expert, of [num_experts, N, K]; no copy.
TensorView RowSlice(const TensorView& view, int64_t begin, int64_t count);

// Elements [begin, begin + count) of a contiguous tensor of a plain type.
TensorView FlatSlice(const TensorView& view, int64_t begin, int64_t count);

// Rows of [N, K] or [num_experts, N, K] that lie in memory.
std::shared_ptr<const quant::RowReader> ViewReader(const TensorView& view);

// What a weight may be in a file: "f32, f16, …", for errors. `plain_only`: without block formats.
std::string SupportedTypes(bool plain_only = false);

}  // namespace rill::model
