#include "engine/step_time.h"

#include <algorithm>
#include <cmath>

namespace rill::engine {
namespace {

const double kFade = std::pow(0.5, 1.0 / 128.0);
// Until enough steps have shown what it is.
constexpr double kFirstMargin = 1.25;
constexpr double kLargestMargin = 3.0;

}  // namespace

StepTime::Vector StepTime::Features(const StepSize& size) {
  // Scaled to similar sizes, so that coordinate descent settles fast.
  return {1.0, size.prefill_tokens / 64.0, size.decodes / 16.0, size.kv_reads / 16384.0};
}

StepTime::StepTime() : margin_(kFirstMargin) {}

StepTime StepTime::Guess(const StepHint& hint) {
  StepTime out;
  if (hint.prompt_tokens < 1) return out;
  // Beside a prompt of 48 tokens, as a load computes one, 16 decodes took 0.40 to 0.49 of its time
  // and one 0.19 to 0.21 (`rill bench MODEL -t 2 --activations q8 -p 48 -b 1,16 --at 0`, SmolLM2
  // and the synthetic 1.1B in Q4_0 on Zen 5).
  const double n = hint.prompt_tokens;
  for (int i = 0; i < 2; ++i) out.Observe({n, 0, n * n / 2}, hint.ms);
  out.Observe({0, n / 3, 0}, 0.4 * hint.ms);
  out.Observe({0, 1, 0}, 0.2 * hint.ms);
  return out;
}

double StepTime::Predict(const StepSize& size) const {
  const Vector x = Features(size);
  double ms = 0;
  for (size_t i = 0; i < kSize; ++i) ms += coefficients_[i] * x[i];
  return ms;
}

void StepTime::Observe(const StepSize& size, double ms) {
  if (!std::isfinite(ms) || ms < 0) return;
  if (ready() && size.prefill_tokens > 0 && size.decodes > 0) {
    ObserveMargin(ms / std::max(1e-6, Predict(size)));
  }
  // Relative errors count alike: a long step is not to drown the short ones.
  const double weight = 1.0 / std::max(1e-4, ms * ms);
  const Vector x = Features(size);
  for (size_t i = 0; i < kSize; ++i) {
    for (size_t j = 0; j < kSize; ++j) normal_[i][j] = normal_[i][j] * kFade + weight * x[i] * x[j];
    target_[i] = target_[i] * kFade + weight * x[i] * ms;
  }
  largest_prefill_ = std::max(largest_prefill_ * kFade, size.prefill_tokens);
  ++num_observed_;
  Fit();
}

void StepTime::ObserveMargin(double ratio) {
  ratios_[num_ratios_++ % kRatios] = ratio;
  if (num_ratios_ < kFewRatios) return;
  // The second largest of 128: a single step that lost its processor does not count.
  std::array<double, kRatios> sorted = ratios_;  // those not seen yet are 0: the smallest
  std::nth_element(sorted.begin(), sorted.end() - 2, sorted.end());
  margin_ = std::clamp(sorted[kRatios - 2], 1.0, kLargestMargin);
}

void StepTime::Fit() {
  // Warm start from the last fit; the small ridge keeps what is never seen at 0. What could be of
  // a step's prompt tokens or of any step is put down to the tokens: the next chunk is smaller
  // then, and that tells the two apart. The other way round, after a start with full chunks only,
  // a step without any seemed to take as long, and 300 ms chunks went on for 20 steps.
  for (int round = 0; round < 8; ++round) {
    for (const size_t i : {1, 3, 2, 0}) {
      double rest = target_[i];
      for (size_t j = 0; j < kSize; ++j) {
        if (j != i) rest -= normal_[i][j] * coefficients_[j];
      }
      const double ridge = i == 0 || i == 2 ? 1e-3 : 1e-6;
      const double scale = normal_[i][i] * (1 + ridge) + 1e-12;
      coefficients_[i] = std::max(0.0, rest / scale);
    }
  }
}

}  // namespace rill::engine
