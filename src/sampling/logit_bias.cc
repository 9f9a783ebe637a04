#include "sampling/processors.h"

namespace rill::sampling {

bool WantsLogitBias(const ProcessorContext& context) {
  return !context.request.params.logit_bias.empty();
}

// x[t] += bias
void ProcessLogitBias(const ProcessorContext& context, Candidates& candidates) {
  const auto logits = candidates.Edit();
  for (const LogitBias& entry : context.request.params.logit_bias) {
    float& logit = logits[static_cast<size_t>(entry.token_id)];
    logit = ClampFinite(logit + entry.bias);
  }
}

}  // namespace rill::sampling
