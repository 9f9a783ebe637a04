// Random weights in any format, fast: for synthetic models and benchmarks. Blocks come from a pool
// of a few hundred random ones, so what they decode to repeats; their order does not.
#pragma once

#include <cstdint>

#include "rill/status.h"
#include "tensor/dtype.h"

namespace rill::quant {

// f32, f16, bf16, and block formats of ScaleFieldsOf.
bool CanFill(DType dtype);

// `num_elements` weights (whole blocks) of mean about 0 and root mean square about `rms`, the same
// for the same seed. Errors: kUnsupported naming the formats there are, kInvalidArgument on a
// partial block.
Status FillRandom(DType dtype, int64_t num_elements, float rms, uint64_t seed, void* out);

}  // namespace rill::quant
