#include <algorithm>

#include "sampling/processors.h"

namespace rill::sampling {

bool WantsRepetitionPenalty(const ProcessorContext& context) {
  return context.request.params.repetition_penalty != 1.0f;
}

// For each token t that occurs in the prompt or in the output, once however often it occurs:
//   x[t] = x[t] > 0 ? x[t] / penalty : x[t] * penalty
// Source: Keskar et al. 2019 (CTRL), arXiv:1909.05858, section 4.1, with the sign rule of
// transformers.
void ProcessRepetitionPenalty(const ProcessorContext& context, Candidates& candidates) {
  const float penalty = context.request.params.repetition_penalty;
  const auto& prompt_set = context.request.prompt_set;
  const auto logits = candidates.Edit();
  const auto penalise = [&](int32_t id) {
    float& logit = logits[static_cast<size_t>(id)];
    logit = ClampFinite(logit > 0.0f ? logit / penalty : logit * penalty);
  };
  for (int32_t id : prompt_set) penalise(id);
  for (const auto& [id, count] : context.output_counts) {
    if (!std::binary_search(prompt_set.begin(), prompt_set.end(), id)) penalise(id);
  }
}

}  // namespace rill::sampling
