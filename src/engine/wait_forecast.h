// How long a request that comes now would wait: a forecast of the plan, and what came since it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "engine/step_time.h"

namespace rill::engine {

// Requests that no forecast has seen yet, all together; sums over them.
struct ArrivalLoad {
  int64_t choices = 0;
  double prompt_tokens = 0;
  double prompt_reads = 0;   // positions that the prompts' tokens attend to
  double output_tokens = 0;  // expected, of all choices
  double output_reads = 0;   // positions that these attend to
  double held_tokens = 0;    // of KV memory that admission wants for them

  static ArrivalLoad Of(int32_t n, double prompt, double output, double held) {
    return {n,
            prompt,
            prompt * prompt / 2,
            n * output,
            n * output * (prompt + output / 2),
            prompt + n * held};
  }
  ArrivalLoad& operator+=(const ArrivalLoad& o) { return Add(o, 1); }
  ArrivalLoad& operator-=(const ArrivalLoad& o) { return Add(o, -1); }

 private:
  ArrivalLoad& Add(const ArrivalLoad& o, int sign) {
    choices += sign * o.choices;
    prompt_tokens += sign * o.prompt_tokens;
    prompt_reads += sign * o.prompt_reads;
    output_tokens += sign * o.output_tokens;
    output_reads += sign * o.output_reads;
    held_tokens += sign * o.held_tokens;
    return *this;
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
  // The same machine and model with nothing to do.
  WaitForecast Idle() const {
    WaitForecast out = *this;
    out.wait_ms = 0;
    out.has_queue = false;
    out.running_choices = 0;
    return out;
  }

  // The wait of one more after `since`, milliseconds. All their prompts are computed before it. Of
  // their answers, which run as many at once as there are places or memory for, those in free
  // places are not waited for, and the others take turns; as if all were alike.
  double WaitAfter(const ArrivalLoad& since) const {
    if (since.choices <= 0) return wait_ms;
    const auto n = static_cast<double>(since.choices);
    const double at_once = std::clamp(max_positions * n / std::max(1.0, since.held_tokens), 1.0,
                                      std::max(1.0, static_cast<double>(max_choices)));
    const double free = has_queue ? 0 : std::max(0.0, at_once - running_choices);
    const double before = std::max(0.0, n - std::max(0.0, free - 1));
    const double prompts_ms =
        since.prompt_tokens * prompt_token_ms + since.prompt_reads * kv_read_ms;
    const double outputs_ms =
        since.output_tokens * (step_ms / at_once + decode_ms) + since.output_reads * kv_read_ms;
    return wait_ms + prompts_ms + before / n * outputs_ms;
  }
};

}  // namespace rill::engine
