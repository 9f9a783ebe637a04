// Range checks of SamplingParams, with messages for the person who sent the request.
#pragma once

#include "rill/sampling.h"
#include "rill/status.h"

namespace rill::sampling {

// kInvalidArgument: "temperature: expected a number in [0, 100], got -1".
Status ValidateSampling(const SamplingParams& params, int32_t vocab_size);

}  // namespace rill::sampling
