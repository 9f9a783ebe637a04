// ModelMetrics: what one model's requests did. Any thread.
#pragma once

#include <atomic>
#include <cstdint>

#include "server/metrics/histogram.h"

namespace rill::server {

struct ModelMetrics {
  // Bounds: a CPU's step is milliseconds, a long answer minutes. In seconds.
  static std::vector<double> LatencyBounds() {
    return {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5,
            0.75,  1,     2.5,  5,    10,   20,   40,   80,  160};
  }
  static std::vector<double> TokenTimeBounds() {
    return {0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05,
            0.075, 0.1,    0.15,  0.2,  0.3,  0.5,  1,    2.5};
  }
  static std::vector<double> CountBounds() {
    return {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};
  }

  Histogram time_to_first_token{LatencyBounds()};
  Histogram inter_token_latency{TokenTimeBounds()};
  Histogram request_time_per_output_token{TokenTimeBounds()};
  Histogram e2e_latency{LatencyBounds()};
  Histogram queue_time{LatencyBounds()};
  Histogram inference_time{LatencyBounds()};
  Histogram prefill_time{LatencyBounds()};
  Histogram decode_time{LatencyBounds()};
  Histogram prompt_tokens{CountBounds()};
  Histogram generation_tokens{CountBounds()};
  Histogram max_tokens{CountBounds()};
  Histogram n{CountBounds()};

  // Choices by how they ended.
  std::atomic<uint64_t> finished_stop{0}, finished_length{0}, finished_abort{0}, finished_error{0};
  std::atomic<uint64_t> prompt_tokens_total{0};  // of accepted prompts, cached ones included
  std::atomic<uint64_t> generation_tokens_total{0};
  std::atomic<uint64_t> cached_tokens_total{0};
  // Answered 503, or ended with that error when a part was sent, by the reason.
  std::atomic<uint64_t> refused_overloaded{0}, refused_draining{0};
};

}  // namespace rill::server
