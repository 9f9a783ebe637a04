#include "sampling/request_sampling.h"

#include <algorithm>
#include <utility>

namespace rill::sampling {

RequestSampling::RequestSampling(SamplingParams sampling_params, uint64_t request_seed,
                                 std::vector<int32_t> sorted_end_ids,
                                 std::span<const int32_t> prompt_ids)
    : params(std::move(sampling_params)), seed(request_seed), end_ids(std::move(sorted_end_ids)) {
  if (params.repetition_penalty == 1.0f) return;
  prompt_set.assign(prompt_ids.begin(), prompt_ids.end());
  std::sort(prompt_set.begin(), prompt_set.end());
  prompt_set.erase(std::unique(prompt_set.begin(), prompt_set.end()), prompt_set.end());
}

}  // namespace rill::sampling
