#include "sampling/processors.h"

namespace rill::sampling {

bool WantsTopK(const ProcessorContext& context) {
  return context.request.params.top_k > 0;
}

// Keeps the k largest logits, ties to the lower id: exactly k. Source: Fan, Lewis, Dauphin 2018,
// arXiv:1805.04833, section 5.4.
void ProcessTopK(const ProcessorContext& context, Candidates& candidates) {
  candidates.KeepLargest(context.request.params.top_k);
}

}  // namespace rill::sampling
