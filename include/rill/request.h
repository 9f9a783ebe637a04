// What a caller hands to the engine and what comes back: token ids in, token events out.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

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
  int32_t priority = 0;                  // higher first; equal: in order of arrival
  SamplingParams sampling = {};
  // Restricts each token (grammars); cloned for each choice. May be null.
  std::shared_ptr<const sampling::TokenMask> mask = {};

  static constexpr int32_t kMaxChoices = 128;
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
  int32_t completion_tokens = 0;  // of all choices, stop ids included
  uint64_t seed = 0;              // given or chosen
  double queue_ms = 0;            // until admitted
  double first_token_ms = 0;      // until the first token; 0 when there was none
  double total_ms = 0;
};

// One step of one choice: a token, an end, or both.
//   For each choice: tokens with index 0, 1, …, and exactly one event whose finish_reason is not
//   kNone, which is the choice's last.
//   For each accepted request: exactly one event with is_final, which is its last.
struct TokenEvent {
  RequestId request_id = 0;
  int32_t choice = 0;                      // [0, n)
  int32_t token_id = -1;                   // -1: an end without a token (cancelled, error)
  int32_t index = -1;                      // of the token in the choice's output
  float logprob = 0.0f;                    // when asked for
  std::vector<TokenLogprob> top_logprobs;  // most likely first, when asked for
  FinishReason finish_reason = FinishReason::kNone;
  bool is_final = false;
  Status error;  // with kError: why
  Usage usage;   // with is_final
};

// Called on the engine's thread, in order, between steps. May call Submit and Cancel of the same
// engine. Must not block.
using EventCallback = std::function<void(const TokenEvent&)>;

// A moment of an engine. Counters start at 0 and only grow.
struct EngineStats {
  // Now.
  int32_t waiting_requests = 0;
  int32_t running_requests = 0;
  int32_t running_choices = 0;
  int32_t total_pages = 0;
  int32_t free_pages = 0;
  int32_t reserved_pages = 0;  // of the free ones: promised to running requests
  bool dead = false;           // the device is lost: every Submit is refused
  // Counters.
  int64_t steps = 0;
  int64_t failed_steps = 0;
  int64_t accepted_requests = 0;
  int64_t refused_requests = 0;
  int64_t finished_requests = 0;  // all ends, the next two included
  int64_t cancelled_requests = 0;
  int64_t error_requests = 0;
  int64_t prompt_tokens = 0;  // computed in prefill
  int64_t generated_tokens = 0;
  double step_ms = 0;    // time inside the step runner
  double sample_ms = 0;  // time choosing tokens
};

}  // namespace rill
