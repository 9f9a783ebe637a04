// SamplingParams: how the next token is chosen from the model's logits, and when to stop.
//
// Plain data; order and formulas of the processors are in docs/sampling.md. Values outside the
// ranges below are refused when the request is submitted, with field, range and value.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace rill {

// Added to one token's logit before anything else.
struct LogitBias {
  int32_t token_id = 0;
  float bias = 0.0f;  // [-100, 100]
};

struct SamplingParams {
  float temperature = 1.0f;         // [0, 100]; 0: greedy, the largest logit, ties to the lower id
  int32_t top_k = 0;                // keep the k most likely; 0: all
  float top_p = 1.0f;               // (0, 1]: smallest set of mass >= top_p (arXiv:1904.09751)
  float min_p = 0.0f;               // [0, 1]: drop p < min_p * p_max (arXiv:2407.01082)
  float typical_p = 1.0f;           // (0, 1]: locally typical set (arXiv:2202.00666)
  float repetition_penalty = 1.0f;  // [0.01, 100]: prompt and output (arXiv:1909.05858)
  float presence_penalty = 0.0f;    // [-2, 2]: subtracted once from tokens of the output
  float frequency_penalty = 0.0f;   // [-2, 2]: subtracted per occurrence in the output
  std::vector<LogitBias> logit_bias = {};  // at most kMaxLogitBias, each token once
  // With a seed the same request gives the same tokens, whatever else the engine runs. Without one
  // the engine chooses, and says which (Usage::seed).
  std::optional<uint64_t> seed = {};
  // -1: none. n >= 0: the log-probability of the chosen token and of the n most likely ones, of the
  // model's own distribution (before every processor). At most kMaxLogprobs.
  int32_t logprobs = -1;

  int32_t max_tokens = 256;            // per choice, >= 0; prompt + max_tokens must fit the engine
  int32_t min_tokens = 0;              // [0, max_tokens]: no end id is chosen before
  std::vector<int32_t> stop_ids = {};  // besides the engine's end-of-sequence ids; <= kMaxStopIds
  bool ignore_eos = false;             // end-of-sequence ids do not stop (stop_ids still do)

  static constexpr int32_t kMaxStopIds = 256;
  static constexpr int32_t kMaxLogitBias = 4096;
  static constexpr int32_t kMaxLogprobs = 64;
};

struct TokenLogprob {
  int32_t token_id = -1;
  float logprob = 0.0f;  // natural logarithm
};

}  // namespace rill
