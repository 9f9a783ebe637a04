// What a caller hands to the engine and what comes back: token ids in, token events out.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "rill/hardware.h"
#include "rill/sampling.h"
#include "rill/status.h"

namespace rill {

namespace sampling {
class TokenMask;  // sampling/token_mask.h
}

using RequestId = uint64_t;  // never 0, never used twice by one engine

struct GenerateRequest {
  std::vector<int32_t> prompt_ids = {};  // at least one, each in [0, vocab_size)
  int32_t n = 1;                         // independent choices over one prompt, [1, kMaxChoices]
  int32_t priority = 0;                  // among the requests of its tenant: higher first
  // sampling.max_tokens 0: only the prompt is computed (each choice ends with kLength, no token).
  SamplingParams sampling = {};
  // -1: none. n >= 0: for each prompt token but the first, its log-probability after those before
  // it and those of the n most likely tokens there, in TokenEvent::prompt_logprobs. Such a request
  // computes its whole prompt. At most SamplingParams::kMaxLogprobs.
  int32_t prompt_logprobs = -1;
  // Whose request it is: tenants share the engine fairly, and never share cached pages.
  std::string tenant = {};
  // The tenant's share against others who wait: 2 gets twice what 1 gets. [0.001, 1000].
  double weight = 1;
  std::string cache_salt = {};  // pages are shared only between requests of equal tenant and salt
  // What kind of prompt it is (a template's or a route's name): a key of the length prediction.
  std::string length_class = {};
  // From Submit; 0: the limit of EngineOptions. Past one the request ends with kError:
  // kUnavailable when it was still in the queue, else kResourceExhausted.
  int64_t queue_timeout_ms = 0;  // in the queue
  int64_t total_timeout_ms = 0;  // in all
  // Restricts each token (grammars); cloned for each choice. May be null.
  std::shared_ptr<const sampling::TokenMask> mask = {};

  static constexpr int32_t kMaxChoices = 128;
  static constexpr size_t kMaxNameBytes = 1024;  // of tenant, cache_salt and length_class
};

enum class FinishReason : uint8_t {
  kNone = 0,   // goes on
  kStop,       // an end-of-sequence or stop id, which is the event's token_id
  kLength,     // max_tokens reached
  kCancelled,  // the caller asked for it
  kError,      // see TokenEvent::error
};
// "none", "stop", "length", "cancelled", "error".
std::string_view FinishReasonName(FinishReason reason);

// Counts and times of one request, in its final event. Times are from Submit, in milliseconds.
struct Usage {
  int32_t prompt_tokens = 0;
  int32_t cached_tokens = 0;      // of the prompt: found computed, not computed again
  int32_t completion_tokens = 0;  // of all choices, stop ids included
  uint64_t seed = 0;              // given or chosen
  double queue_ms = 0;            // until admitted
  double first_token_ms = 0;      // until the first token; 0 when there was none
  double total_ms = 0;
};

// What the model said of one prompt token.
struct PromptLogprob {
  float logprob = 0.0f;                    // of the prompt's token, natural logarithm
  std::vector<TokenLogprob> top_logprobs;  // most likely first
};

// One step of one choice: a token, an end, or both; or a stretch of the prompt's
// log-probabilities.
//   For each choice: tokens with index 0, 1, …, and exactly one event whose finish_reason is not
//   kNone, which is the choice's last.
//   For each accepted request: exactly one event with is_final, which is its last.
//   With prompt_logprobs: events without a token, of a choice that has not ended, before the first
//   token; together they cover the prompt's positions 1, 2, … in order.
struct TokenEvent {
  RequestId request_id = 0;
  int32_t choice = 0;                      // [0, n)
  int32_t token_id = -1;                   // -1: an end without a token (cancelled, error)
  int32_t index = -1;                      // of the token in the choice's output
  float logprob = 0.0f;                    // when asked for
  std::vector<TokenLogprob> top_logprobs;  // most likely first, when asked for
  // Of prompt positions prompt_position, prompt_position + 1, …
  std::vector<PromptLogprob> prompt_logprobs;
  int32_t prompt_position = -1;
  FinishReason finish_reason = FinishReason::kNone;
  bool is_final = false;
  Status error;  // with kError: why
  Usage usage;   // with is_final
};

// Called on the engine's thread, in order, between steps. May call Submit and Cancel of the same
// engine. Must not block.
using EventCallback = std::function<void(const TokenEvent&)>;

// Counts of values by size: bucket i holds values <= bounds[i] (and above the bound before), the
// last one everything above.
template <size_t kBounds>
struct Histogram {
  std::array<int64_t, kBounds + 1> counts = {};
  double sum = 0;
  int64_t total = 0;

  void Add(double value, const std::array<double, kBounds>& bounds) {
    size_t i = 0;
    while (i < kBounds && value > bounds[i]) ++i;
    ++counts[i];
    sum += value;
    ++total;
  }
};

// A moment of an engine. Counters start at 0 and only grow.
struct EngineStats {
  // Now.
  int32_t waiting_requests = 0;
  int32_t running_requests = 0;
  int32_t running_choices = 0;
  int32_t paused_choices = 0;  // of the running ones: without a page in the last step
  // total = used + cached + free.
  int32_t total_pages = 0;
  int32_t used_pages = 0;    // held by running requests
  int32_t cached_pages = 0;  // held by nobody, kept for their content; as good as free
  int32_t free_pages = 0;    // neither
  // Of cached + free: what must stay untaken so that every running request can reach its limit.
  int32_t reserved_pages = 0;
  // How long a request that came now at the end of the queue would wait, in milliseconds.
  double estimated_wait_ms = 0;
  bool dead = false;        // the device is lost: every Submit is refused
  std::string dead_reason;  // empty unless dead
  // Counters.
  int64_t steps = 0;
  int64_t failed_steps = 0;
  int64_t accepted_requests = 0;
  int64_t refused_requests = 0;
  int64_t finished_requests = 0;  // all ends, the next three included
  int64_t cancelled_requests = 0;
  int64_t error_requests = 0;
  int64_t expired_requests = 0;  // of the errors: past a deadline
  int64_t prompt_tokens = 0;     // computed in prefill
  int64_t generated_tokens = 0;
  int64_t prefix_queries = 0;  // prompt tokens looked up in the prefix cache
  int64_t prefix_hits = 0;     // of those, found
  int64_t evicted_pages = 0;   // cached pages given to others
  int64_t paused_steps = 0;    // choice-steps without a page
  // Where the compute thread's time goes, in milliseconds.
  double plan_ms = 0;  // deciding
  double step_ms = 0;  // inside the step runner
  // At least this much had to be read and multiplied in that time (rill/hardware.h): with the
  // machine's ceilings, the differences of two readings give the share of the limit in between.
  StepCost step_cost;
  double sample_ms = 0;  // choosing tokens
  double emit_ms = 0;    // in callbacks
  double idle_ms = 0;    // asleep: nothing to do
  // Of idle_ms: while requests were on their way to the engine (EngineLoop::AddUpstream), that is,
  // waiting for text work.
  double starved_ms = 0;
  // Steps by size and by time.
  static constexpr std::array<double, 10> kStepTokens = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};
  static constexpr std::array<double, 12> kStepMs = {1,  2,   5,   10,  20,   35,
                                                     50, 100, 200, 500, 1000, 2000};
  Histogram<10> step_tokens;
  Histogram<12> step_time_ms;
};

}  // namespace rill
