// ModelMetrics: what one model's requests did. Any thread.
#pragma once

#include <atomic>
#include <cstdint>

#include "server/metrics/histogram.h"

namespace rill::server {

struct ModelMetrics {
  // Few bounds, since each is a line of the page per model and name: two models must stay below
  // 64 KiB. Nearly all are among vLLM's, so that rules written for it find their `le`. In seconds:
  // a CPU's step is milliseconds, a long answer minutes.
  static std::vector<double> LatencyBounds() {
    return {0.01, 0.04, 0.1, 0.25, 0.5, 1, 2.5, 10, 40, 160};
  }
  static std::vector<double> QueueBounds() { return {0.01, 0.1, 0.5, 1, 2.5, 10, 60}; }
  static std::vector<double> PhaseBounds() { return {0.01, 0.1, 1, 10, 100}; }
  static std::vector<double> TokenTimeBounds() {
    return {0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1};
  }
  static std::vector<double> CountBounds() { return {10, 50, 200, 1000, 5000, 20000}; }
  static std::vector<double> ChoicesBounds() { return {1, 2, 5, 10}; }

  Histogram time_to_first_token{LatencyBounds()};
  Histogram inter_token_latency{TokenTimeBounds()};
  Histogram request_time_per_output_token{TokenTimeBounds()};
  Histogram e2e_latency{LatencyBounds()};
  Histogram queue_time{QueueBounds()};
  Histogram inference_time{PhaseBounds()};
  Histogram prefill_time{PhaseBounds()};
  Histogram decode_time{PhaseBounds()};
  Histogram prompt_tokens{CountBounds()};
  Histogram generation_tokens{CountBounds()};
  Histogram max_tokens{CountBounds()};
  Histogram n{ChoicesBounds()};

  // Choices by how they ended.
  std::atomic<uint64_t> finished_stop{0}, finished_length{0}, finished_abort{0}, finished_error{0};
  std::atomic<uint64_t> prompt_tokens_total{0};  // of computed prompts, cached ones included
  std::atomic<uint64_t> generation_tokens_total{0};
  std::atomic<uint64_t> cached_tokens_total{0};
  // Answered 503, or ended with that error when a part was sent, by the reason.
  std::atomic<uint64_t> refused_overloaded{0}, refused_draining{0};
};

}  // namespace rill::server
