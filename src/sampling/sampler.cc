#include "sampling/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "sampling/candidates.h"
#include "sampling/philox.h"
#include "sampling/processors.h"
#include "sampling/row_passes.h"

namespace rill::sampling {
namespace {

struct Processor {
  ProcessorKind kind;
  bool (*wants)(const ProcessorContext& context);
  void (*process)(const ProcessorContext& context, Candidates& candidates);
};

constexpr Processor kProcessors[] = {
#define PROCESSOR(file, Name, kind) {ProcessorKind::kind, Wants##Name, Process##Name},
#include "sampling/processor_list.def"
#undef PROCESSOR
};

Status NoneAllowed() {
  return FailedPrecondition("no token is allowed here");
}

Status BadLogit(float logit, int64_t token_id, int64_t vocab_size) {
  return DataLoss(
      fmt::format("the model gave the logit {} for token {} of {}", logit, token_id, vocab_size));
}

}  // namespace

Sampler::Sampler(std::shared_ptr<const RequestSampling> request, int32_t choice,
                 std::unique_ptr<TokenMask> mask)
    : request_(std::move(request)), choice_(choice), mask_(std::move(mask)) {
  const SamplingParams& params = request_->params;
  counts_output_ = params.repetition_penalty != 1.0f || params.presence_penalty != 0.0f ||
                   params.frequency_penalty != 0.0f;
}

bool Sampler::TakesBest() const {
  if (request_->params.temperature != 0.0f || request_->params.logprobs >= 0) return false;
  SamplerWorkspace none;  // no processor looks at it before it works
  const ProcessorContext context{*request_, num_output_, output_counts_, mask_.get(), none};
  return std::none_of(std::begin(kProcessors), std::end(kProcessors), [&](const Processor& p) {
    return p.kind == ProcessorKind::kLogits && p.wants(context);
  });
}

Result<SampledToken> Sampler::Take(int32_t token_id, float logit, int32_t vocab_size) const {
  if (!std::isfinite(logit)) return BadLogit(logit, token_id, vocab_size);
  SampledToken sampled;
  sampled.token_id = token_id;
  return sampled;
}

Result<SampledToken> Sampler::Sample(std::span<const float> logits,
                                     SamplerWorkspace& workspace) const {
  if (const int64_t bad = FirstNonFinite(logits); bad >= 0) {
    return BadLogit(logits[static_cast<size_t>(bad)], bad, std::ssize(logits));
  }
  const SamplingParams& params = request_->params;
  const bool greedy = params.temperature == 0.0f;
  const ProcessorContext context{*request_, num_output_, output_counts_, mask_.get(), workspace};
  Candidates candidates(logits, workspace);
  bool filtering = false;
  for (const Processor& processor : kProcessors) {
    if (processor.kind == ProcessorKind::kFilter && !filtering) {
      filtering = true;
      if (greedy) break;
      if (!candidates.BeginFilters(static_cast<double>(params.temperature))) return NoneAllowed();
    }
    if (processor.wants(context)) processor.process(context, candidates);
  }
  SampledToken sampled;
  if (greedy) {
    const std::span<const float> edited = candidates.logits();
    const int64_t best = ArgMax(edited);
    if (best < 0 || edited[static_cast<size_t>(best)] == kForbiddenLogit) return NoneAllowed();
    sampled.token_id = static_cast<int32_t>(best);
  } else {
    sampled.token_id = candidates.Draw(RandomBits(request_->seed, choice_, num_output_));
  }
  if (params.logprobs >= 0) ComputeLogprobs(logits, params.logprobs, workspace, sampled);
  return sampled;
}

void ComputeLogprobs(std::span<const float> logits, int32_t count, SamplerWorkspace& workspace,
                     SampledToken& sampled) {
  Candidates candidates(logits, workspace);
  (void)candidates.BeginFilters(1.0);  // the row is finite
  const double log_total = LogOfWeight(candidates.TotalWeight());
  const auto logprob = [&](int32_t id) {
    return static_cast<float>(static_cast<double>(logits[static_cast<size_t>(id)]) -
                              candidates.max_logit() - log_total);
  };
  sampled.logprob = logprob(sampled.token_id);
  if (count == 0) return;
  candidates.KeepLargest(count);
  for (int32_t i = 0; i < candidates.size(); ++i) {
    sampled.top_logprobs.push_back({candidates.id(i), candidates.logit(i)});
  }
  std::sort(sampled.top_logprobs.begin(), sampled.top_logprobs.end(),
            [](const TokenLogprob& a, const TokenLogprob& b) {
              return a.logprob != b.logprob ? a.logprob > b.logprob : a.token_id < b.token_id;
            });
  for (TokenLogprob& entry : sampled.top_logprobs) entry.logprob = logprob(entry.token_id);
}

Status Sampler::Accept(int32_t token_id) {
  ++num_output_;
  if (counts_output_) ++output_counts_[token_id];
  return mask_ ? mask_->Accept(token_id) : OkStatus();
}

}  // namespace rill::sampling
