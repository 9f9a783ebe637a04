// StepTime: how long will a step take? Learned from the steps that were.
//
//   ms = c0 + c1 * prefill tokens + c2 * decodes + c3 * kv reads        (every c >= 0)
//
// kv reads: positions that the step's tokens attend to, summed over its tokens. The coefficients
// are a least-squares fit with weights that fade (half of it is from the last 128 steps), found by
// coordinate descent under the sign constraint. `Bound` adds what the fit has been too low by.
// Owner thread: the engine's. Used for pacing only: no result depends on it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace rill::engine {

struct StepSize {
  double prefill_tokens = 0;
  double decodes = 0;
  double kv_reads = 0;
};

class StepTime {
 public:
  void Observe(const StepSize& size, double ms);
  // Nothing is known before the first steps.
  bool ready() const { return num_observed_ >= 4; }
  double Predict(const StepSize& size) const;
  // The largest prompt chunk of the last steps: what is far beyond it is a guess.
  double largest_prefill() const { return largest_prefill_; }
  // Not exceeded in about 99 of 100 steps.
  double Bound(const StepSize& size) const { return Predict(size) * margin_; }

 private:
  static constexpr size_t kSize = 4;
  using Vector = std::array<double, kSize>;
  static Vector Features(const StepSize& size);
  void Fit();

  std::array<Vector, kSize> normal_ = {};  // sum of weight * x x^T
  Vector target_ = {};                     // sum of weight * x * ms
  Vector coefficients_ = {};
  double margin_ = 1.0;         // 99th percentile of actual / predicted
  double largest_prefill_ = 0;  // fades
  int64_t num_observed_ = 0;
};

}  // namespace rill::engine
