// How long a request that comes now would wait: a forecast of the plan, and what came since it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "engine/step_time.h"

namespace rill::engine {

// Requests that no forecast has seen yet, all together.
struct ArrivalLoad {
  int64_t choices = 0;
  double prompt_tokens = 0;
  double output_tokens = 0;  // expected, of all choices

  ArrivalLoad& operator+=(const ArrivalLoad& o) {
    choices += o.choices;
    prompt_tokens += o.prompt_tokens;
    output_tokens += o.output_tokens;
    return *this;
  }
  ArrivalLoad& operator-=(const ArrivalLoad& o) {
    return *this += {-o.choices, -o.prompt_tokens, -o.output_tokens};
  }
};

struct WaitForecast {
  double wait_ms = 0;  // of a request that came then, at the end of the queue, to be admitted
  bool has_queue = false;
  int32_t running_choices = 0, max_choices = 0;
  double max_positions = 0;  // that the KV memory holds
  // What a step takes: a part of every step, and more a prompt token, a decode, a position read.
  double step_ms = 0, prompt_token_ms = 0, decode_ms = 0, kv_read_ms = 0;

  void SetCosts(const StepTime& time) {
    step_ms = time.Predict({0, 0, 0});
    prompt_token_ms = time.Predict({1, 0, 0}) - step_ms;
    decode_ms = time.Predict({0, 1, 0}) - step_ms;
    kv_read_ms = time.Predict({0, 0, 1}) - step_ms;
  }

  // The wait of one more after `since`: its first choices take free places, the others turns, with
  // as many at once as there are places or memory for. Of requests that are alike; milliseconds.
  double WaitAfter(const ArrivalLoad& since) const {
    if (since.choices <= 0) return wait_ms;
    const auto n = static_cast<double>(since.choices);
    const double prompt = since.prompt_tokens / n, output = since.output_tokens / n;
    const double at_once = std::clamp(max_positions / std::max(1.0, prompt + output), 1.0,
                                      std::max(1.0, static_cast<double>(max_choices)));
    const double free = has_queue ? 0 : std::max(0.0, at_once - running_choices);
    const double before = n - std::max(0.0, free - 1);
    if (before <= 0) return wait_ms;
    const double prefill_ms = prompt * (prompt_token_ms + prompt / 2 * kv_read_ms);
    const double decode_step_ms =
        step_ms + at_once * (decode_ms + (prompt + output / 2) * kv_read_ms);
    return wait_ms + before * (prefill_ms + output * decode_step_ms / at_once);
  }
};

}  // namespace rill::engine
