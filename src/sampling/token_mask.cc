#include "sampling/token_mask.h"

#include "sampling/processors.h"

namespace rill::sampling {

bool WantsTokenMask(const ProcessorContext& context) {
  return context.mask != nullptr;
}

// Forbids what the mask does not allow.
void ProcessTokenMask(const ProcessorContext& context, Candidates& candidates) {
  const auto logits = candidates.Edit();
  auto& allowed = context.workspace.allowed;
  allowed.assign((logits.size() + 31) / 32, 0);
  context.mask->FillAllowed(allowed);
  for (size_t word = 0; word < allowed.size(); ++word) {
    if (allowed[word] == ~0u) continue;
    const size_t end = logits.size() < (word + 1) * 32 ? logits.size() : (word + 1) * 32;
    for (size_t i = word * 32; i < end; ++i) {
      if ((allowed[word] >> (i % 32) & 1u) == 0) logits[i] = kForbiddenLogit;
    }
  }
}

}  // namespace rill::sampling
