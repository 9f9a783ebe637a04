#include <cmath>

#include "sampling/processors.h"

namespace rill::sampling {

bool WantsTypicalP(const ProcessorContext& context) {
  return context.request.params.typical_p < 1.0f;
}

// With p over what is left here and its entropy H = -sum p log p: in ascending order of
// |-log p - H|, the fewest tokens whose mass is >= typical_p. May drop the most likely token.
// Source: Meister et al. 2022, arXiv:2202.00666, section 4.
void ProcessTypicalP(const ProcessorContext& context, Candidates& candidates) {
  const auto weights = candidates.Weights();
  const uint64_t total = candidates.TotalWeight();
  const double log_total = LogOfWeight(total);
  const auto surprise = [&](int32_t i) {
    return log_total - (static_cast<double>(candidates.logit(i)) - candidates.max_logit()) *
                           candidates.inv_temperature();
  };
  // In order of id: one fixed chain of additions.
  double entropy = 0.0;
  for (int32_t i = 0; i < candidates.size(); ++i) {
    const uint64_t weight = weights[static_cast<size_t>(i)];
    if (weight > 0) entropy += static_cast<double>(weight) * surprise(i);
  }
  entropy /= static_cast<double>(total);
  auto& keys = context.workspace.keys;
  keys.resize(static_cast<size_t>(candidates.size()));
  for (int32_t i = 0; i < candidates.size(); ++i) {
    keys[static_cast<size_t>(i)] = static_cast<float>(std::fabs(surprise(i) - entropy));
  }
  candidates.KeepMassByKey(keys, static_cast<double>(context.request.params.typical_p));
}

}  // namespace rill::sampling
