// From any tensor dtype to f32, one scalar decoder per line of dtype_list.def: the truth that every
// kernel is compared with.
//
// Bit for bit what the Python package `gguf` computes (gguf.quants.dequantize): one f32 rounding
// per written operation, no fused multiply-add. Scales are used as they are: an Inf or NaN scale
// gives Inf and NaN weights by IEEE rules (0 * Inf = NaN); io/check_tensors.h finds them. Which
// bits a NaN has is not promised.
#pragma once

#include <cstdint>

#include "rill/status.h"
#include "tensor/dtype.h"

namespace rill::quant {

// Decodes `num_elements` (a multiple of the block size) from `src`, at any alignment, into out[].
// Errors: kInvalidArgument when num_elements is not a whole number of blocks.
Status DequantizeRow(DType dtype, const void* src, int64_t num_elements, float* out);

bool CanDequantize(DType dtype);

// Decode<Name>(blocks, num_blocks, out): out has num_blocks * block_weights elements. Plain types
// have blocks of one element and live in plain.cc; bool is 0 or 1 (any byte but 0).
#define DTYPE(Name, name, weights, bytes, gguf) \
  void Decode##Name(const uint8_t* blocks, int64_t num_blocks, float* out);
#include "tensor/dtype_list.def"
#undef DTYPE

}  // namespace rill::quant
