#include "sampling/processors.h"

namespace rill::sampling {

bool WantsOutputPenalties(const ProcessorContext& context) {
  const SamplingParams& params = context.request.params;
  return (params.presence_penalty != 0.0f || params.frequency_penalty != 0.0f) &&
         context.num_output > 0;
}

// For each token t that occurs c > 0 times in the output (the prompt does not count):
//   x[t] = x[t] - (presence_penalty + c * frequency_penalty)
// Source: OpenAI API reference, "presence_penalty", "frequency_penalty".
void ProcessOutputPenalties(const ProcessorContext& context, Candidates& candidates) {
  const SamplingParams& params = context.request.params;
  const auto logits = candidates.Edit();
  for (const auto& [id, count] : context.output_counts) {
    float& logit = logits[static_cast<size_t>(id)];
    logit = ClampFinite(
        logit - (params.presence_penalty + static_cast<float>(count) * params.frequency_penalty));
  }
}

}  // namespace rill::sampling
