// RowReaders over tensors in memory: several as one stack of experts, a transposed one, rows to be
// decoded, rows to be divided by their length. What would otherwise be a copy of the weights.
#pragma once

#include <memory>
#include <vector>

#include "quant/row_reader.h"
#include "rill/status.h"
#include "tensor/tensor_view.h"

namespace rill::quant {

// Expert e is experts[e]: [rows, cols] with contiguous rows of one dtype and shape; or, transposed,
// [cols, rows] of a plain type. The views must outlive the reader.
std::shared_ptr<const RowReader> MakeViewRows(std::vector<TensorView> experts,
                                              bool transposed = false);
// [heads, cols, n] as f32 rows [heads * n, cols]: blocks run along n and cannot be turned. The rows
// of n are whole blocks; the view must outlive the reader.
std::shared_ptr<const RowReader> MakeTurnedRows(const TensorView& view);
// Readers of one expert each, of one dtype and shape, as a stack. Their orders may differ.
std::shared_ptr<const RowReader> MakeStackedRows(
    std::vector<std::shared_ptr<const RowReader>> experts);
// Rows [begin, begin + count) of each expert.
std::shared_ptr<const RowReader> MakeRowSlice(std::shared_ptr<const RowReader> rows, int64_t begin,
                                              int64_t count);
// f32 rows in input order.
std::shared_ptr<const RowReader> MakeDecodedRows(std::shared_ptr<const RowReader> rows);
// f32 rows divided by their length, at least 1e-12 (Baichuan 2's NormHead).
std::shared_ptr<const RowReader> MakeUnitRows(std::shared_ptr<const RowReader> rows);

// Row `row` of `expert` as f32 in stored order, exactly as DequantizeRow decodes it.
void DecodeRow(const RowReader& rows, int64_t expert, int64_t row, float* out);

}  // namespace rill::quant
