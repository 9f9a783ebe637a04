// A model with its matrices in another format, in memory.
#pragma once

#include "io/model_source.h"
#include "rill/status.h"

namespace rill::llm {

// Every tensor of rank 2 or more is decoded and encoded again (f16 and f32 by rounding). Where its
// rows are no whole blocks of `dtype` it gets FallbackFormat(dtype), as files made by llama.cpp
// have it; where that does not fit either, and where it is too small to matter (a router), it keeps
// its own. `source` need not outlive the result for what was encoded, but must for the rest; it is
// no AWQ or GPTQ checkpoint, whose tensors are codes and not weights.
// Errors: kUnsupported when there is no encoder or decoder.
Result<io::ModelSource> Requantize(const io::ModelSource& source, DType dtype, int num_threads);

// The format of 32 weights a block, of at least as many bits, that stands in for one of 256 where
// rows are no multiple of 256: q2_k, q3_k -> q4_0, q4_k -> q5_0, q5_k -> q5_1, q6_k -> q8_0,
// iq4_xs -> iq4_nl. Others stand for themselves.
DType FallbackFormat(DType dtype);

}  // namespace rill::llm
