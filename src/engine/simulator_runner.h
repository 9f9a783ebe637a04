// HashRunner: a step runner whose "model" is a hash of all tokens so far.
//
// Its KV memory holds, per position, the token and its position; each row's logits are made from
// everything it reads back through the page tables. So a wrong page, a missing copy, a stale or a
// foreign position changes the tokens that come out, and HashLogits alone, over the plain token
// list, says what they should have been.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/step_runner.h"

namespace rill::engine {

// Hash of a token list, in order: Next(…Next(Next(kStart, t0), t1)…).
struct TokenHash {
  static constexpr uint64_t kStart = 0x243F6A8885A308D3u;
  static uint64_t Next(uint64_t hash, int32_t token_id) {
    uint64_t z = (hash ^ static_cast<uint32_t>(token_id)) * 0x9E3779B97F4A7C15u;
    return z ^ (z >> 29);
  }
  static uint64_t Of(std::span<const int32_t> token_ids) {
    uint64_t hash = kStart;
    for (int32_t id : token_ids) hash = Next(hash, id);
    return hash;
  }
};

// Logits in [0, 8), 20 random bits each, that follow from `hash`.
void HashLogits(uint64_t hash, std::span<float> logits);

class HashRunner : public StepRunner {
 public:
  explicit HashRunner(const RunnerInfo& info);

  const RunnerInfo& info() const override { return info_; }
  // kInternal when the plan breaks its own contract (offsets, lengths, page ids, budget).
  Status Run(const StepPlan& plan, const StepOutput& output) override;
  Status Recover() override { return recovery; }
  void Scrub(std::span<const int32_t> pages) override;

  // Does this page hold these tokens, at positions one after another?
  bool PageHolds(int32_t page, std::span<const int32_t> token_ids) const;

  // Is there nothing of a sequence in it?
  bool PageIsBlank(int32_t page) const;

  // Faults to plant. before_run is asked first; an error fails the step before it does anything.
  std::function<Status(const StepPlan& plan)> before_run;
  std::function<void(const StepPlan& plan, MutableTensorView logits)> after_run;
  Status recovery;

 private:
  struct Slot {
    int32_t token_id = -1;
    int32_t position = -1;
    bool operator==(const Slot&) const = default;
  };
  void TellBest(const StepPlan& plan, const StepOutput& output) const;
  Status CheckPlan(const StepPlan& plan) const;
  Slot& At(const StepPlan& plan, int32_t seq, int32_t position);

  const RunnerInfo info_;
  std::vector<Slot> memory_;  // [num_pages, page_size]
};

}  // namespace rill::engine
