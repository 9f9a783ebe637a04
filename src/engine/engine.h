// Engine: token ids in, token events out. Continuous batching over a StepRunner.
//
//   auto engine = Engine::Create({.eos_ids = {2}}, runner);
//   auto id = (*engine)->Submit({.prompt_ids = {1, 15, 7}}, [](const TokenEvent& event) { … });
//   while ((*engine)->HasWork()) (*engine)->Step();
//
// Step: plan -> run -> sample -> commit -> emit. Sequence state changes only in commit; events are
// handed out after it, so a callback may call Submit and Cancel.
//
// Owner thread: one. EngineLoop (engine_loop.h) gives the engine a thread of its own.
// Invariants: those of Scheduler; and each accepted request gets exactly one final event.
// Not responsible for: text, stop strings, where pages live.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/aligned_vector.h"
#include "engine/length_predictor.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "engine/step_plan.h"
#include "engine/step_runner.h"
#include "rill/request.h"
#include "rill/status.h"

namespace rill::engine {

struct EngineOptions {
  std::vector<int32_t> eos_ids = {};  // end-of-sequence ids of the model
  int32_t max_choices = 0;      // sequences at once; 0: as many as a step can hold, at most 256
  int32_t max_waiting = 1024;   // requests in the queue; more are refused with kUnavailable
  int32_t max_overtakes = 256;  // how often others may pass the oldest waiting request
  uint64_t seed = 0;            // of requests without a seed: theirs follow from this and their id
  bool prefix_cache = true;     // share computed pages by content; never changes a bit
  // Admit by predicted length (docs/scheduler.md); false: only when the worst case is covered.
  bool predict_lengths = true;
  double length_quantile = 0.9;  // of the prediction, (0, 1): how sure admission wants to be
  std::shared_ptr<LengthPredictor> predictor = {};  // null: SurvivalPredictor
  // Prompt chunks are made small enough for steps with decodes in them to stay below this, as far
  // as measured step times tell; 0: chunks as large as a step holds. Where decodes alone take most
  // of it or more, prompts still get a fifth of the step: they must end, too.
  double itl_target_ms = 0;
  // What waits are forecast from before steps were timed.
  StepHint step_hint = {};
  // Limits of requests that bring none; 0: none.
  int64_t queue_timeout_ms = 0;
  int64_t total_timeout_ms = 0;
  std::function<Clock::time_point()> now = {};  // null: Clock::now. For simulations
};

class Engine {
 public:
  // `runner` must outlive the engine. Errors: kInvalidArgument naming the option.
  static Result<std::unique_ptr<Engine>> Create(const EngineOptions& options, StepRunner& runner);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Is the request well-formed, and could it ever run here? Thread-safe.
  Status Validate(const GenerateRequest& request) const;
  // Errors (the request is refused, no event follows): Validate's kInvalidArgument; kUnavailable
  // when the queue is full or the engine is dead.
  Result<RequestId> Submit(GenerateRequest request, EventCallback callback);
  // The same under an id from ReserveId, which is thread-safe.
  Result<RequestId> SubmitAs(RequestId id, GenerateRequest request, EventCallback callback);
  RequestId ReserveId() { return next_id_.fetch_add(1, std::memory_order_relaxed); }
  // Ends a request (choice < 0) or one of its choices, with kCancelled; its pages are free when
  // this returns. False when it is unknown or has ended.
  bool Cancel(RequestId id, int32_t choice = -1);
  // Ends everything: with kCancelled.
  void CancelAll();
  // Of how long one more would wait, as of some step; and what was submitted since.
  WaitForecast forecast() const { return requests_.empty() ? forecast_.Idle() : forecast_; }
  ArrivalLoad since_forecast() const { return requests_.empty() ? ArrivalLoad() : since_forecast_; }
  // Thread-safe. max_tokens: of each choice; prompt_tokens need not be exact.
  ArrivalLoad LoadOf(std::string_view tenant, std::string_view length_class, int32_t max_tokens,
                     int32_t choices, double prompt_tokens) const;
  ArrivalLoad LoadOf(const GenerateRequest& request) const;
  // When the next deadline of a request passes; time_point::max() without one.
  Clock::time_point next_deadline() const { return next_deadline_; }

  // Is there anything to do for Step?
  bool HasWork() const { return !requests_.empty() || !events_.empty(); }
  // Runs one step and hands out its events. An error is the runner's: the requests of that step
  // have ended with it. The engine goes on unless dead(). Without memory for a step its requests
  // end with kUnavailable; where it runs out while a step is planned or its tokens are taken, the
  // engine is dead, and all its requests end so. No std::bad_alloc leaves it.
  Status Step();
  // Step in two halves, for an owner that publishes stats() between them, so that whoever learns
  // of an end from its event finds it counted: all but the events, and the events. `after`, if
  // any, is called once they are handed out.
  Status Compute();
  void EmitEvents(const std::function<void()>& after = nullptr);
  // Memory has run out while the state was being changed: nothing is known any more, so the engine
  // is dead. EmitEvents ends the requests. Takes no memory.
  void GiveUp() noexcept;

  bool dead() const { return !dead_.ok(); }
  const EngineOptions& options() const { return options_; }
  EngineStats stats() const;
  const LengthPredictor& predictor() const { return *predictor_; }
  const StepPlan& last_plan() const { return plan_; }
  // Who left the queue in the last step, in order; for checks.
  struct Admission {
    RequestId id = 0;
    int32_t cached_tokens = 0;
  };
  const std::vector<Admission>& last_admissions() const { return last_admissions_; }
  const Scheduler& scheduler() const { return scheduler_; }
  // The scheduler's invariants, and that both know the same requests.
  Status CheckIntegrity() const;

 private:
  // A token to be drawn in this step: its choice's, from a row of logits.
  struct Draw {
    RequestId request_id = 0;
    int32_t choice = 0;
    int32_t row = 0;
    const sampling::Sampler* sampler = nullptr;
    std::optional<Result<sampling::SampledToken>> token;
  };
  struct PendingEvent {
    std::shared_ptr<const EventCallback> callback;
    TokenEvent event;
  };

  Engine(EngineOptions options, const SchedulerOptions& scheduler_options, StepRunner& runner);
  void RefreshForecast(Clock::time_point now);
  Clock::time_point Now() const { return options_.now ? options_.now() : Clock::now(); }
  // Ends the requests whose time is up.
  void ExpireDeadlines();
  // Which rows of logits the plan's draws need as a whole.
  void ChooseWanted();
  bool TakesBest(const PlannedSequence& planned, bool is_prefill) const;
  void Commit(const MutableTensorView& logits);
  // The log-probabilities of a chunk of the prompt. False: the request has ended with an error.
  bool EmitPromptLogprobs(RequestState& request, const PlannedSequence& planned,
                          int32_t first_position, const MutableTensorView& logits);
  // The log-probability of the prompt's token after `position`, from that position's row.
  static Result<sampling::SampledToken> Score(const RequestState& request, int32_t position,
                                              std::span<const float> row,
                                              sampling::SamplerWorkspace& workspace) noexcept;
  std::span<const float> RowOf(const MutableTensorView& logits, int32_t row) const;
  void EndWithoutTokens(RequestState& request);
  // Takes a computed sequence over into its request, and what is to be drawn for it into draws_.
  void Advance(const PlannedSequence& planned, int32_t num_tokens, bool is_prefill,
               const MutableTensorView& logits);
  // Records a token of a choice; ends the choice or the request where due.
  void Record(RequestState& request, int32_t choice, Result<sampling::SampledToken> drawn);
  Status ComputeStep();
  Status RunPlan();
  void ScrubUnheld();
  MutableTensorView LogitsOfPlan();
  // Of those that GiveUp left.
  void EndGivenUp();
  void FailStep(const Status& error);
  void Die(const Status& error);
  // `by_itself`: its length is what the model wanted.
  void FinishChoice(RequestState& request, int32_t choice, TokenEvent event, bool by_itself);
  void FinishRequest(RequestState& request, FinishReason reason, const Status& error);
  void FillUsage(const RequestState& request, Usage& usage) const;

  const EngineOptions options_;
  StepRunner& runner_;
  std::shared_ptr<LengthPredictor> predictor_;
  Scheduler scheduler_;
  std::atomic<RequestId> next_id_{1};
  std::unordered_map<RequestId, std::unique_ptr<RequestState>> requests_;
  StepPlan plan_;
  std::vector<RequestState*> newly_admitted_;
  std::vector<Admission> last_admissions_;
  AlignedVector<float> logits_;
  std::vector<ops::BestLogit> best_;                    // of the plan's rows
  std::vector<sampling::SamplerWorkspace> workspaces_;  // one for each thread of the runner
  std::vector<Draw> draws_;                             // of this step; room for max_choices
  std::vector<PendingEvent> events_;
  bool emitting_ = false;
  Status dead_;
  bool given_up_ = false;
  // Made beforehand.
  Status no_memory_ = Unavailable("memory ran out between two steps; restart the server");
  Clock::time_point next_deadline_ = Clock::time_point::max();
  // The forecast is made at most every 50 ms.
  Clock::time_point forecast_made_ = Clock::time_point::min();
  WaitForecast forecast_;
  ArrivalLoad since_forecast_;
  EngineStats counters_;
};

}  // namespace rill::engine
