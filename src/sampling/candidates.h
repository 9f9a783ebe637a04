// Candidates: the tokens that may still be chosen, while the processors work on them.
//
// Two phases. Logit processors edit the row (Edit, Forbid). Filters then drop tokens; from the
// first filter on the remaining tokens are a list in ascending order of id. The order "most likely
// first" is always by logit, ties to the lower id; temperature does not change it.
//
// Nothing is sorted as a whole: a filter narrows the range of logits in which its boundary falls
// (by halving over a whole row, with a histogram of 4096 equal ranges over a list) and looks
// closely only into that range.
#pragma once

#include <cstdint>
#include <limits>
#include <span>

#include "sampling/boundary.h"
#include "sampling/exact_math.h"
#include "sampling/workspace.h"

namespace rill::sampling {

// The logit of a token that must not be chosen.
inline constexpr float kForbiddenLogit = -std::numeric_limits<float>::infinity();

// Keeps an edited logit finite. (Edits come before tokens are forbidden.)
inline float ClampFinite(float logit) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  return logit > kLargest ? kLargest : logit < -kLargest ? -kLargest : logit;
}

class Candidates {
 public:
  // logits: [vocab_size], all finite, unchanged; vocab_size <= 2^20.
  Candidates(std::span<const float> logits, SamplerWorkspace& workspace)
      : workspace_(workspace), logits_(logits) {}

  // --- Logit phase.
  // The row, to be edited in place. Values must stay finite or become -infinity (forbidden).
  std::span<float> Edit();
  std::span<const float> logits() const { return logits_; }

  // --- Between the phases. Temperature > 0. False when every token is forbidden.
  [[nodiscard]] bool BeginFilters(double temperature);
  double max_logit() const { return max_; }
  double inv_temperature() const { return inv_temperature_; }

  // --- Filter phase.
  int32_t size() const;
  // Keeps the k most likely.
  void KeepLargest(int32_t k);
  // Keeps the smallest set of most likely tokens with at least `fraction` of the mass.
  void KeepMass(double fraction);
  // The same in ascending order of `keys` [size()], ties to the lower id.
  void KeepMassByKey(std::span<const float> keys, double fraction);
  // Drops tokens whose weight is below `fraction` of the largest weight.
  void KeepRelative(double fraction);
  // Weights, as in exact_math.h, of the remaining tokens: [size()].
  std::span<const uint64_t> Weights();
  uint64_t TotalWeight();
  // Token id at place i of the remaining ones.
  int32_t id(int32_t i) const { return listed_ ? workspace_.ids[static_cast<size_t>(i)] : i; }
  float logit(int32_t i) const { return logits_[static_cast<size_t>(id(i))]; }

  // --- The choice: the token at which the running sum of weights, in order of id, first exceeds
  // floor(TotalWeight() * random_bits / 2^64). Its probability is weight / total, to 2^-64.
  int32_t Draw(uint64_t random_bits);

 private:
  template <typename Keep>
  void Filter(Keep keep);
  void FilterRow(const Boundary& boundary);
  // Calls fn(logit_of), logit_of(i) being the logit at place i: one loop for the whole row and one
  // for a list, instead of a test for each token.
  template <typename Fn>
  void WithLogits(Fn fn) const;
  // The smallest logit that is not forbidden.
  float SmallestAllowed() const;
  // The boundary in the whole row, by halving: MassOf(limit) is the mass and number of logits >=
  // limit, MassAt(i) that of one. `target` as in FindBoundary.
  template <typename MassOf, typename MassAt>
  Boundary Halve(MassOf mass_of, MassAt mass_at, float lowest, uint64_t target);

  SamplerWorkspace& workspace_;
  std::span<const float> logits_;  // the caller's row, or the edited copy
  bool edited_ = false;
  bool listed_ = false;   // ids are in workspace_.ids; otherwise all of the row
  bool weighed_ = false;  // workspace_.weights is valid, total_ is their sum
  uint64_t total_ = 0;
  double max_ = 0.0;
  double inv_temperature_ = 1.0;
};

}  // namespace rill::sampling
