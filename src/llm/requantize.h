// A model with its matrices in another format, in memory.
#pragma once

#include "io/model_source.h"
#include "rill/status.h"

namespace rill::llm {

// Every tensor of rank 2 or more whose rows are whole blocks of `dtype` is decoded and encoded
// again (f16 and f32 by rounding); others, and those that are too small to matter (a router), keep
// theirs. `source` need not outlive the result for what was encoded, but must for the rest.
// Errors: kUnsupported when there is no encoder or decoder.
Result<io::ModelSource> Requantize(const io::ModelSource& source, DType dtype, int num_threads);

// Weights of the matrices of `source`, and their bits per weight as they lie there.
double MatrixWeights(const io::ModelSource& source);
double MatrixBits(const io::ModelSource& source);

}  // namespace rill::llm
