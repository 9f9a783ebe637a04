// What all choices of a request share for sampling.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rill/sampling.h"

namespace rill::sampling {

struct RequestSampling {
  SamplingParams params;            // validated
  uint64_t seed = 0;                // params.seed, or the engine's choice
  std::vector<int32_t> end_ids;     // what min_tokens holds back, sorted
  std::vector<int32_t> prompt_set;  // token ids of the prompt, sorted, once each; only filled when
                                    // a penalty looks at the prompt

  // Counts are of token ids, so that chunking, a cached prefix or shared pages cannot change them.
  RequestSampling(SamplingParams sampling_params, uint64_t request_seed,
                  std::vector<int32_t> sorted_end_ids, std::span<const int32_t> prompt_ids);
};

}  // namespace rill::sampling
