#include "sampling/processors.h"

namespace rill::sampling {

bool WantsMinP(const ProcessorContext& context) {
  return context.request.params.min_p > 0.0f;
}

// Keeps tokens with p >= min_p * p_max. Source: Nguyen et al. 2024, arXiv:2407.01082, section 3.
void ProcessMinP(const ProcessorContext& context, Candidates& candidates) {
  candidates.KeepRelative(static_cast<double>(context.request.params.min_p));
}

}  // namespace rill::sampling
