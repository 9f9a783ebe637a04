// Scheduler: which sequences compute how many tokens in the next step, and on which pages.
//
// Promises (docs/scheduler.md argues them):
//   - What is admitted finishes: it never loses a page, and at any moment the running requests can
//     all finish one after another, each up to its limit (claim.h). A sequence that needs a page
//     which would break that pauses, with all it has, and goes on when others end; while one
//     pauses, nobody is admitted.
//   - Each step computes one token of every decoding choice that does not pause, then prefill
//   chunks
//     in order of admission, then of newly admitted requests; never more than max_step_tokens
//     tokens and max_step_rows rows of logits.
//   - Turns in the queue follow the rule of WaitQueue. The oldest waiting request is overtaken at
//     most max_overtakes times.
//   - Full pages are shared by content within a tenant; unused ones are kept until needed.
//
// Owner thread: the engine's.
// Invariants (CheckIntegrity asserts them):
//   1. the pool's own; each page's refcount is the number of tables that hold it; outside of Plan
//      nothing is promised
//   2. the claims of the running requests are safe with the available pages
//   3. a waiting request holds nothing; a finished choice holds nothing
//   4. live choices of running requests <= max_choices
// Not responsible for: sampling, events, contents of pages.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/claim.h"
#include "engine/length_predictor.h"
#include "engine/sequence.h"
#include "engine/step_plan.h"
#include "engine/step_runner.h"
#include "engine/step_time.h"
#include "engine/wait_forecast.h"
#include "engine/wait_queue.h"
#include "kv/page_pool.h"
#include "kv/prefix_key.h"
#include "rill/status.h"

namespace rill::engine {

struct SchedulerOptions {
  RunnerInfo runner;        // page geometry and largest step
  int32_t max_choices = 0;  // choices that run at once, <= max_step_tokens, max_step_rows
  int32_t max_waiting = 0;  // queue length
  int32_t max_overtakes = 256;
  bool prefix_cache = true;
  // Admits by predicted length. False: only when the worst case of all is covered; nothing pauses.
  bool predict_lengths = true;
  double itl_target_ms = 0;                    // step time with decodes in it; 0: no target
  StepHint step_hint;                          // EngineOptions'
  std::shared_ptr<LengthPredictor> predictor;  // null: only the worst case is known
};

struct SchedulerCounters {
  int64_t prefix_queries = 0, prefix_hits = 0;  // prompt tokens
  int64_t paused_steps = 0;                     // choice-steps
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
  // The planned tokens of this choice are computed; pages that are full now get their names.
  void Advance(RequestState& request, int32_t choice, int32_t num_tokens);
  // After its prompt is computed: the other choices share choice 0's pages.
  void ForkChoices(RequestState& request);
  // A token of this request was sampled.
  void CountToken(const RequestState& request) { queue_.Charge(request.request, 1); }
  // Nothing that this request computed is to be found by others any more.
  void Distrust(const RequestState& request);
  // Ends one choice: its pages go back at once. `by_itself`: its length says something (also when
  // the caller ended it for its content, a stop string).
  void FinishChoice(RequestState& request, int32_t choice, FinishReason reason, bool by_itself);
  // Takes a request without live choices out of the queue or the running list.
  void Remove(RequestState& request);
  // How long a step took: what chunk sizes and forecasts are made from.
  void ObserveStep(const StepPlan& plan, double ms) {
    step_time_.Observe(plan.size, ms);
    forecast_time_.Observe(plan.size, ms);
  }

  // What the plan says of the queue, played forward with expected lengths, step times and
  // deadlines. Times are 0 while none is known. O((waiting + running) log(waiting + running)).
  WaitForecast ForecastWait(Clock::time_point now) const;
  // Of a request with that limit and as many tokens already. Thread-safe.
  LengthForecast Forecast(const LengthQuery& query) const;

  int32_t num_waiting() const { return queue_.size(); }
  int32_t num_running() const { return static_cast<int32_t>(running_.size()); }
  int32_t running_choices() const { return running_choices_; }
  int32_t paused_choices() const { return paused_choices_; }
  // Pages that must stay untaken now.
  int32_t BankNow() const;
  const SchedulerCounters& counters() const { return counters_; }
  const kv::PagePool& pool() const { return pool_; }
  void ClearUnheld() { pool_.ClearUnheld(); }  // of the pool
  const WaitQueue& queue() const { return queue_; }
  const StepTime& step_time() const { return step_time_; }
  const std::vector<RequestState*>& running() const { return running_; }
  Status CheckIntegrity() const;

 private:
  // What is left of a step in the making.
  struct Room {
    int32_t tokens = 0;
    int32_t rows = 0;
    bool has_prefill = false;
    double limit_ms = 0;  // with itl_target_ms, of a step with decodes
  };

  // Pages one request takes in the worst case: the shared full pages of the prompt once, the rest
  // for each choice.
  int64_t PagesOfRequest(const GenerateRequest& request) const;
  // Of a running request: pages it may still take; pages it holds and nobody else does.
  int32_t RemainingNeed(const RequestState& request) const;
  int32_t OwnPages(const RequestState& request) const;

  // Claims of the running requests during Plan. `own` is filled in when it first matters.
  void BeginClaims();
  void FillOwn();
  bool Grant(size_t running_index, int32_t pages);

  void MakePromptKeys(RequestState& request) const;
  std::vector<int32_t> FindPrefix(RequestState& request);
  bool TryAdmit(StepPlan& plan, Room& room, std::vector<RequestState*>& newly_admitted);
  bool TakePlace(RequestState& request);
  bool FitsForecast();
  void RefreshForecast(RequestState& request) const;
  LengthForecast Forecast(const RequestState& request, int32_t generated) const;

  int32_t ChunkOf(const RequestState& request, const StepPlan& plan, const Room& room,
                  int32_t rows_for_others) const;
  bool PlanPrefill(size_t running_index, StepPlan& plan, Room& room, int32_t rows_for_others);
  void PlanSequence(RequestState& request, int32_t choice, int32_t num_tokens, int32_t pages,
                    StepPlan& plan);
  void FinishPlan(StepPlan& plan) const;
  Status CheckRunning(std::vector<int32_t>& holders) const;

  const SchedulerOptions options_;
  const kv::PrefixHasher hasher_;
  kv::PagePool pool_;
  WaitQueue queue_;
  StepTime step_time_;
  // What forecasts are made from: begins with step_hint. Where one sequence at a time is all that
  // was seen, that tells a step's fixed part from a decode's; chunks are not to rely on it.
  StepTime forecast_time_;
  int64_t step_ = 0;
  int32_t running_choices_ = 0;
  int32_t paused_choices_ = 0;
  std::vector<RequestState*> running_;  // in order of admission
  std::vector<Claim> claims_;           // [running_], during Plan
  int64_t total_need_ = 0;              // of claims_
  bool own_known_ = false;
  std::vector<const Sequence*> planned_;  // of the plan in the making
  SchedulerCounters counters_;
};

}  // namespace rill::engine
