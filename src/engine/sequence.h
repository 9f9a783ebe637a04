// What the scheduler knows of a request and of its choices. Plain state, changed only by Scheduler.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "kv/page_table.h"
#include "kv/prefix_key.h"
#include "rill/request.h"
#include "sampling/sampler.h"

namespace rill::engine {

using Clock = std::chrono::steady_clock;

// One choice of a request: a row of tokens that grows.
struct Sequence {
  kv::PageTable pages;
  int32_t num_computed = 0;  // positions whose keys and values are in the pages
  int32_t num_named = 0;     // of the full pages, the first ones: those whose key is in `chain`
  kv::PrefixKey chain;       // key of the last of them; the request's root when there is none
  std::vector<int32_t> output_ids;
  std::unique_ptr<sampling::Sampler> sampler;
  FinishReason finish = FinishReason::kNone;

  bool live() const { return finish == FinishReason::kNone; }
};

enum class Phase : uint8_t {
  kWaiting,  // in the queue; holds no page
  kPrefill,  // choice 0 computes the prompt; the other choices hold nothing yet
  kDecode,   // each live choice computes one token a step
};

struct RequestState {
  RequestId id = 0;
  GenerateRequest request;
  std::shared_ptr<const EventCallback> callback;
  std::vector<int32_t> end_ids;  // sorted: stop ids and, unless ignored, end-of-sequence ids
  uint64_t seed = 0;
  Phase phase = Phase::kWaiting;
  std::vector<Sequence> choices;           // [n]
  std::vector<kv::PrefixKey> prompt_keys;  // of the prompt's full pages; made when it is next
  int32_t cached_tokens = 0;               // of the prompt: found computed
  int32_t forecast_tokens = -1;            // predicted length of a choice; -1: not asked yet
  Clock::time_point submitted, admitted, first_token;
  Clock::time_point queue_deadline = Clock::time_point::max();
  Clock::time_point deadline = Clock::time_point::max();
  bool has_first_token = false;
  bool told_end = false;  // its final event is on its way

  int32_t prompt_size() const { return static_cast<int32_t>(request.prompt_ids.size()); }
  bool scores_prompt() const { return request.prompt_logprobs >= 0; }
  // The largest number of positions one choice may come to hold.
  int32_t max_positions() const { return prompt_size() + request.sampling.max_tokens; }
  int32_t num_live() const {
    int32_t count = 0;
    for (const Sequence& choice : choices) count += choice.live() ? 1 : 0;
    return count;
  }
};

}  // namespace rill::engine
