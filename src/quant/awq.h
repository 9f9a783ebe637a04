// AWQ checkpoints (AutoAWQ "gemm"): 4-bit codes packed along the rows, eight to a word.
//   w[n, k] = scales[k / group_size, n] * (q[k, n] - z[k / group_size, n])
//   qweight  i32 [K, N / 8]   rows 8j … 8j + 7 are nibbles 0 4 1 5 2 6 3 7 of word j
//   qzeros   i32 [G, N / 8]   the same order; z as it is
//   scales   f16 | bf16 | f32 [G, N]
// Source: Lin et al. 2023, arXiv:2306.00978; layout as AutoAWQ writes it.
#pragma once

#include <memory>

#include "quant/row_reader.h"
#include "rill/status.h"
#include "tensor/tensor_view.h"

namespace rill::quant {

struct AwqTensors {
  TensorView qweight, qzeros, scales;
  int64_t rows = 0;         // N, a multiple of 8
  int64_t cols = 0;         // K
  int64_t group_size = -1;  // -1: all of k
};

// Rows of u4g<B>, B the largest of 128, 64, 32 that divides the group.
// The views must outlive the reader; their shapes and dtypes are as above (the caller checked).
// Errors begin with "qweight: " or another such tensor: kUnsupported for a group that is not a
// multiple of 32, or a scale that f16 cannot hold exactly.
Result<std::shared_ptr<const RowReader>> MakeAwqRows(const AwqTensors& tensors);

}  // namespace rill::quant
