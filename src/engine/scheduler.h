// Scheduler: which sequences compute how many tokens in the next step, and on which pages.
//
// Promises (docs/scheduler.md argues them):
//   - A request is admitted only when every page it can ever need is promised to it; a running
//     request never waits for memory and is never evicted.
//   - Each step computes one token of every decoding choice, then prefill chunks in order of
//     admission, then of newly admitted requests; never more than max_step_tokens tokens.
//   - The queue is first come, first served within a priority. The oldest waiting request is
//     overtaken at most max_overtakes times.
//
// Owner thread: the engine's.
// Invariants (CheckIntegrity asserts them):
//   1. the pool's own; each page's refcount is the number of tables that hold it
//   2. the pool's promises are the requests' promises, and each is exactly what that request may
//      still take in the worst case
//   3. a waiting request holds nothing; a finished choice holds nothing
//   4. live choices of running requests <= max_choices
// Not responsible for: sampling, events, contents of pages.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "engine/sequence.h"
#include "engine/step_plan.h"
#include "engine/step_runner.h"
#include "kv/page_pool.h"
#include "rill/status.h"

namespace rill::engine {

struct SchedulerOptions {
  RunnerInfo runner;        // page geometry and largest step
  int32_t max_choices = 0;  // choices that run at once, <= max_step_tokens, max_step_rows
  int32_t max_waiting = 0;  // queue length
  int32_t max_overtakes = 256;
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerOptions& options);

  // Could this request ever run here? kInvalidArgument with the numbers when not. Const and
  // thread-safe: depends on options only.
  Status CheckFits(const GenerateRequest& request) const;
  bool queue_full() const { return num_waiting() >= options_.max_waiting; }

  // Puts a request (that fits) at the end of the queue.
  void Enqueue(RequestState& request);
  // Plans the next step: admits what fits, takes pages. The plan is empty only when nothing is
  // waiting or running. `newly_admitted` gets the requests that left the queue.
  void Plan(StepPlan& plan, std::vector<RequestState*>& newly_admitted);
  // The planned tokens of this choice are computed. True when its logit row is to be sampled.
  void Advance(RequestState& request, int32_t choice, int32_t num_tokens);
  // After its prompt is computed: the other choices share choice 0's pages.
  void ForkChoices(RequestState& request);
  // Ends one choice: its pages go back at once.
  void FinishChoice(RequestState& request, int32_t choice, FinishReason reason);
  // Takes a request without live choices out of the queue or the running list.
  void Remove(RequestState& request);

  int32_t num_waiting() const { return static_cast<int32_t>(by_arrival_.size()); }
  int32_t num_running() const { return static_cast<int32_t>(running_.size()); }
  int32_t running_choices() const { return running_choices_; }
  const kv::PagePool& pool() const { return pool_; }
  const std::vector<RequestState*>& running() const { return running_; }
  Status CheckIntegrity() const;

 private:
  // Pages one request takes in the worst case: the shared full pages of the prompt once, the rest
  // for each choice. The seam for a length predictor (reserve less, with a fallback) and for a
  // prefix index (full pages that are already computed).
  int64_t PagesOfRequest(const GenerateRequest& request) const;
  // What a request may still take: exactly its promise.
  int32_t RemainingNeed(const RequestState& request) const;
  void ShrinkPromise(RequestState& request);
  RequestState* NextWaiting() const;
  bool TryAdmit(StepPlan& plan, int32_t& budget, std::vector<RequestState*>& newly_admitted);
  void PlanSequence(RequestState& request, int32_t choice, int32_t num_tokens, StepPlan& plan);
  void FinishPlan(StepPlan& plan) const;

  const SchedulerOptions options_;
  kv::PagePool pool_;
  int64_t step_ = 0;
  int32_t running_choices_ = 0;
  std::vector<RequestState*> running_;  // in order of admission
  // The queue, twice: by (priority, arrival) and by arrival alone. Ids grow with arrival.
  std::set<std::pair<int64_t, RequestId>> by_priority_;  // key -priority
  std::map<RequestId, RequestState*> by_arrival_;
  int32_t overtakes_of_oldest_ = 0;
  std::vector<const Sequence*> planned_;  // of the plan in the making
};

}  // namespace rill::engine
