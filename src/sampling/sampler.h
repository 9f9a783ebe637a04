// Sampler: chooses the next token of one choice of one request, from one row of logits.
//
// The order of the processors is processor_list.def; formulas and sources are in docs/sampling.md.
// The choice is a pure function of (logits, parameters, tokens so far, seed, choice, index): which
// other requests run, and on which machine, does not enter. Weights are integers and the random
// numbers a counter-based generator's, so the same bits come out everywhere.
//
// Owner thread: the engine's. Sample may run on another one meanwhile; many samplers at once, each
// thread with a workspace of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "rill/sampling.h"
#include "rill/status.h"
#include "sampling/request_sampling.h"
#include "sampling/token_mask.h"
#include "sampling/workspace.h"

namespace rill::sampling {

struct SampledToken {
  int32_t token_id = -1;
  float logprob = 0.0f;                    // when asked for
  std::vector<TokenLogprob> top_logprobs;  // most likely first
};

// The log-probability of `token_id` and of the `count` most likely tokens, under softmax(logits).
void ComputeLogprobs(std::span<const float> logits, int32_t count, SamplerWorkspace& workspace,
                     SampledToken& sampled);

class Sampler {
 public:
  // Each choice has its own random stream and mask (null: none).
  Sampler(std::shared_ptr<const RequestSampling> request, int32_t choice,
          std::unique_ptr<TokenMask> mask);

  // logits: [vocab_size], unchanged; vocab_size <= 2^20. Does not change the sampler's state:
  // Accept does.
  // Errors: kDataLoss for a logit that is NaN or infinite, naming it; kFailedPrecondition when
  // every token is forbidden.
  Result<SampledToken> Sample(std::span<const float> logits, SamplerWorkspace& workspace) const;
  // Whether the choice is the largest logit as the model gave it, and nothing else is asked of the
  // row. Changes with Accept.
  bool TakesBest() const;
  // That choice: of `vocab_size` logits the largest, or the first that is not finite. Errors:
  // kDataLoss as above.
  Result<SampledToken> Take(int32_t token_id, float logit, int32_t vocab_size) const;
  // The token that was chosen. Errors: the mask's.
  Status Accept(int32_t token_id);

 private:
  std::shared_ptr<const RequestSampling> request_;
  const int32_t choice_;
  std::unique_ptr<TokenMask> mask_;
  int32_t num_output_ = 0;
  std::unordered_map<int32_t, int32_t> output_counts_;  // filled only when a penalty needs it
  bool counts_output_ = false;
};

}  // namespace rill::sampling
