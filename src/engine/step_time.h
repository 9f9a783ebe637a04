// StepTime: how long will a step take? Learned from the steps that were.
//
//   ms = c0 + c1 * prefill tokens + c2 * decodes + c3 * kv reads        (every c >= 0)
//
// kv reads: positions that the step's tokens attend to, summed over its tokens. The coefficients
// are a least-squares fit with weights that fade (half of it is from the last 128 steps), found by
// coordinate descent under the sign constraint. `Bound` adds what the fit has been too low by in
// the last 128 steps that had both prompt tokens and decodes: those whose size is chosen by it.
// (Learned from all steps it was the 97th percentile of these: decodes alone vary less and are
// many.) Owner thread: the engine's. Used for pacing only: no result depends on it.
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

// A step of a prompt of so many tokens, timed before there is an engine; 0: none was.
struct StepHint {
  int32_t prompt_tokens = 0;
  double ms = 0;
};

class StepTime {
 public:
  StepTime();
  // What steps take by that one, ready at once. A guess: that step read cold memory.
  static StepTime Guess(const StepHint& hint);
  void Observe(const StepSize& size, double ms);
  // One step shows what a prompt token takes at most: enough to choose the next chunk by.
  bool has_observed() const { return num_observed_ >= 1; }
  // What else a step's time is made of: not before a few, and no forecast before.
  bool ready() const { return num_observed_ >= 4; }
  double Predict(const StepSize& size) const;
  // The largest prompt chunk of the last steps: what is far beyond it is a guess.
  double largest_prefill() const { return largest_prefill_; }
  // Not exceeded in about 99 of 100 steps with prompt tokens and decodes.
  double Bound(const StepSize& size) const { return Predict(size) * margin_; }

 private:
  static constexpr size_t kSize = 4;
  static constexpr size_t kRatios = 128;
  static constexpr size_t kFewRatios = 16;
  using Vector = std::array<double, kSize>;
  static Vector Features(const StepSize& size);
  void ObserveMargin(double ratio);
  void Fit();

  std::array<Vector, kSize> normal_ = {};  // sum of weight * x x^T
  Vector target_ = {};                     // sum of weight * x * ms
  Vector coefficients_ = {};
  std::array<double, kRatios> ratios_ = {};  // ring: actual / predicted
  size_t num_ratios_ = 0;
  double margin_;               // 99th percentile of `ratios_`
  double largest_prefill_ = 0;  // fades
  int64_t num_observed_ = 0;
};

}  // namespace rill::engine
