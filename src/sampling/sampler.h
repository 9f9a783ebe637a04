// Sampler: chooses the next token of one choice of one request, from one row of logits.
//
// The order of the processors is processor_list.def; formulas and sources are in docs/sampling.md.
// The choice is a pure function of (logits, parameters, tokens so far, seed, choice, index): which
// other requests run, and on which machine, does not enter. Weights are integers and the random
// numbers a counter-based generator's, so the same bits come out everywhere.
//
// Owner thread: the engine's.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "rill/sampling.h"
#include "rill/status.h"
#include "sampling/token_mask.h"

namespace rill::sampling {

// Buffers that all samplers of an engine share; they grow to the vocabulary's size once.
struct SamplerWorkspace {
  std::vector<float> logits;
  std::vector<uint32_t> allowed;
  std::vector<int32_t> ids;
  std::vector<float> keys;
  std::vector<uint64_t> weights;
};

struct SampledToken {
  int32_t token_id = -1;
  float logprob = 0.0f;
  std::vector<TokenLogprob> top_logprobs;
};

struct SamplerOptions {
  SamplingParams params;            // validated
  uint64_t seed = 0;                // params.seed or the engine's choice
  int32_t choice = 0;               // each choice has its own random stream
  int32_t min_tokens = 0;           // end ids are not chosen before
  std::vector<int32_t> end_ids;     // what min_tokens holds back
  std::unique_ptr<TokenMask> mask;  // may be null
};

class Sampler {
 public:
  Sampler(SamplerOptions options, std::span<const int32_t> prompt_ids);

  // logits: [vocab_size], unchanged. Does not change the sampler's state: Accept does.
  // Errors: kDataLoss for a logit that is NaN or infinite, naming it; kFailedPrecondition when
  // every token is forbidden.
  Result<SampledToken> Sample(std::span<const float> logits, SamplerWorkspace& workspace) const;
  // The token that was chosen. Errors: the mask's.
  Status Accept(int32_t token_id);

 private:
  SamplerOptions options_;
  int32_t num_output_ = 0;
};

}  // namespace rill::sampling
