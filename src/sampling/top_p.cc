#include "sampling/processors.h"

namespace rill::sampling {

bool WantsTopP(const ProcessorContext& context) {
  return context.request.params.top_p < 1.0f;
}

// Keeps the smallest set of most likely tokens whose mass, of what is left here, is >= top_p.
// Source: Holtzman et al. 2019, arXiv:1904.09751, section 3.1.
void ProcessTopP(const ProcessorContext& context, Candidates& candidates) {
  candidates.KeepMass(static_cast<double>(context.request.params.top_p));
}

}  // namespace rill::sampling
