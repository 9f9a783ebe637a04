#include "sampling/sampler.h"

#include <fmt/format.h>

#include "sampling/argmax.h"

namespace rill::sampling {

Sampler::Sampler(SamplerOptions options, std::span<const int32_t>) : options_(std::move(options)) {}

Result<SampledToken> Sampler::Sample(std::span<const float> logits, SamplerWorkspace&) const {
  if (const int64_t bad = FirstNonFinite(logits); bad >= 0) {
    return DataLoss(fmt::format("the model gave the logit {} for token {} of {}",
                                logits[static_cast<size_t>(bad)], bad, logits.size()));
  }
  SampledToken sampled;
  sampled.token_id = static_cast<int32_t>(ArgMax(logits));
  return sampled;
}

Status Sampler::Accept(int32_t token_id) {
  ++num_output_;
  return options_.mask ? options_.mask->Accept(token_id) : OkStatus();
}

}  // namespace rill::sampling
