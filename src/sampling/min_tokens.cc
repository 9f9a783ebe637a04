#include "sampling/processors.h"

namespace rill::sampling {

bool WantsMinTokens(const ProcessorContext& context) {
  return context.num_output < context.request.params.min_tokens && !context.request.end_ids.empty();
}

// Forbids every id that would end the output before it has min_tokens tokens.
void ProcessMinTokens(const ProcessorContext& context, Candidates& candidates) {
  const auto logits = candidates.Edit();
  for (int32_t id : context.request.end_ids) logits[static_cast<size_t>(id)] = kForbiddenLogit;
}

}  // namespace rill::sampling
