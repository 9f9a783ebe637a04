#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "sampling/validate.h"

namespace rill::engine {
namespace {

// SplitMix64 (Steele, Lea, Flood 2014): seeds of requests that brought none.
uint64_t MixSeed(uint64_t seed, uint64_t id) {
  uint64_t z = seed + id * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

double MillisecondsSince(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double, std::milli>(end - begin).count();
}

Status BadOption(const char* name, const char* expected, int64_t got) {
  return InvalidArgument(fmt::format("engine: {}: expected {}, got {}", name, expected, got));
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::Create(const EngineOptions& options, StepRunner& runner) {
  const RunnerInfo& info = runner.info();
  if (info.vocab_size < 1 || info.vocab_size > 1 << 20) {
    return BadOption("vocab_size", "1 to 2^20", info.vocab_size);  // the sampler's sums fit 64 bits
  }
  if (info.max_context < 1) return BadOption("max_context", "at least 1", info.max_context);
  if (info.page_size < 1) return BadOption("page_size", "at least 1", info.page_size);
  if (info.num_pages < 1) return BadOption("num_pages", "at least 1", info.num_pages);
  if (info.max_step_tokens < 1) {
    return BadOption("max_step_tokens", "at least 1", info.max_step_tokens);
  }
  if (info.max_step_rows < 1) return BadOption("max_step_rows", "at least 1", info.max_step_rows);
  if (options.max_waiting < 1) return BadOption("max_waiting", "at least 1", options.max_waiting);
  if (options.max_overtakes < 0) {
    return BadOption("max_overtakes", "0 or more", options.max_overtakes);
  }
  for (int32_t id : options.eos_ids) {
    if (id < 0 || id >= info.vocab_size) {
      return InvalidArgument(fmt::format("engine: eos_ids: expected token ids in [0, {}), got {}",
                                         info.vocab_size, id));
    }
  }
  const int32_t step_limit = std::min(info.max_step_tokens, info.max_step_rows);
  SchedulerOptions scheduler_options;
  scheduler_options.runner = info;
  scheduler_options.max_choices =
      options.max_choices == 0 ? std::min(step_limit, 256) : options.max_choices;
  scheduler_options.max_waiting = options.max_waiting;
  scheduler_options.max_overtakes = options.max_overtakes;
  if (scheduler_options.max_choices < 1 || scheduler_options.max_choices > step_limit) {
    return InvalidArgument(
        fmt::format("engine: max_choices: expected 1 to {} (the largest step), got {}", step_limit,
                    options.max_choices));
  }
  return std::unique_ptr<Engine>(new Engine(options, scheduler_options, runner));
}

Engine::Engine(EngineOptions options, const SchedulerOptions& scheduler_options, StepRunner& runner)
    : options_(std::move(options)), runner_(runner), scheduler_(scheduler_options) {}

Engine::~Engine() {
  // Callbacks may point to what is already gone: pages go back, nobody is told.
  for (auto& [id, request] : requests_) request->callback = nullptr;
  CancelAll();
}

Status Engine::Validate(const GenerateRequest& request) const {
  const int32_t vocab_size = runner_.info().vocab_size;
  if (request.prompt_ids.empty()) {
    return InvalidArgument("prompt_ids: expected at least one token id, got none");
  }
  for (size_t i = 0; i < request.prompt_ids.size(); ++i) {
    if (request.prompt_ids[i] < 0 || request.prompt_ids[i] >= vocab_size) {
      return InvalidArgument(fmt::format("prompt_ids[{}]: expected a token id in [0, {}), got {}",
                                         i, vocab_size, request.prompt_ids[i]));
    }
  }
  if (request.n < 1 || request.n > GenerateRequest::kMaxChoices) {
    return InvalidArgument(
        fmt::format("n: expected 1 to {}, got {}", GenerateRequest::kMaxChoices, request.n));
  }
  if (Status status = sampling::ValidateSampling(request.sampling, vocab_size); !status.ok()) {
    return status;
  }
  return scheduler_.CheckFits(request);
}

Result<RequestId> Engine::Submit(GenerateRequest request, EventCallback callback) {
  return SubmitAs(ReserveId(), std::move(request), std::move(callback));
}

Result<RequestId> Engine::SubmitAs(RequestId id, GenerateRequest request, EventCallback callback) {
  Status refusal = Validate(request);
  if (refusal.ok() && dead()) refusal = Unavailable("the engine is dead: " + dead_.message());
  if (refusal.ok() && scheduler_.queue_full()) {
    refusal = Unavailable(fmt::format("{} requests are waiting, the limit is {}",
                                      scheduler_.num_waiting(), options_.max_waiting));
  }
  if (!refusal.ok()) {
    ++counters_.refused_requests;
    return refusal;
  }
  CHECK(id != 0 && !requests_.contains(id)) << "request id " << id << " used twice";
  auto state = std::make_unique<RequestState>();
  state->id = id;
  state->submitted = Clock::now();
  state->seed = request.sampling.seed.value_or(MixSeed(options_.seed, id));
  state->end_ids = request.sampling.stop_ids;
  if (!request.sampling.ignore_eos) {
    state->end_ids.insert(state->end_ids.end(), options_.eos_ids.begin(), options_.eos_ids.end());
  }
  std::sort(state->end_ids.begin(), state->end_ids.end());
  const auto sampling = std::make_shared<const sampling::RequestSampling>(
      request.sampling, state->seed, state->end_ids, request.prompt_ids);
  state->choices.resize(static_cast<size_t>(request.n));
  for (int32_t choice = 0; choice < request.n; ++choice) {
    state->choices[static_cast<size_t>(choice)].sampler = std::make_unique<sampling::Sampler>(
        sampling, choice, request.mask ? request.mask->Clone() : nullptr);
  }
  state->request = std::move(request);
  state->callback = std::make_shared<const EventCallback>(std::move(callback));
  scheduler_.Enqueue(*state);
  requests_.emplace(id, std::move(state));
  ++counters_.accepted_requests;
  return id;
}

void Engine::FillUsage(const RequestState& request, Usage& usage) const {
  const Clock::time_point now = Clock::now();
  usage.prompt_tokens = request.prompt_size();
  for (const Sequence& choice : request.choices) {
    usage.completion_tokens += static_cast<int32_t>(choice.output_ids.size());
  }
  usage.seed = request.seed;
  const bool admitted = request.phase != Phase::kWaiting;
  usage.queue_ms = MillisecondsSince(request.submitted, admitted ? request.admitted : now);
  if (request.has_first_token) {
    usage.first_token_ms = MillisecondsSince(request.submitted, request.first_token);
  }
  usage.total_ms = MillisecondsSince(request.submitted, now);
}

void Engine::FinishChoice(RequestState& request, int32_t choice, TokenEvent event) {
  scheduler_.FinishChoice(request, choice, event.finish_reason);
  event.is_final = request.num_live() == 0;
  if (event.is_final) FillUsage(request, event.usage);
  const bool is_final = event.is_final;
  if (request.callback) events_.push_back({request.callback, std::move(event)});
  if (!is_final) return;
  ++counters_.finished_requests;
  scheduler_.Remove(request);
  requests_.erase(request.id);  // `request` ends here
}

void Engine::FinishRequest(RequestState& request, FinishReason reason, const Status& error) {
  if (reason == FinishReason::kCancelled) ++counters_.cancelled_requests;
  if (reason == FinishReason::kError) ++counters_.error_requests;
  const RequestId id = request.id;
  const int32_t num_choices = request.request.n;
  int32_t live = request.num_live();
  for (int32_t choice = 0; choice < num_choices && live > 0; ++choice) {
    if (!request.choices[static_cast<size_t>(choice)].live()) continue;
    --live;
    TokenEvent event;
    event.request_id = id;
    event.choice = choice;
    event.finish_reason = reason;
    event.error = error;
    FinishChoice(request, choice, std::move(event));
  }
}

bool Engine::Cancel(RequestId id, int32_t choice) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return false;
  RequestState& request = *found->second;
  const Status error = Cancelled("cancelled by the caller");
  if (choice < 0) {
    FinishRequest(request, FinishReason::kCancelled, error);
    return true;
  }
  if (choice >= request.request.n || !request.choices[static_cast<size_t>(choice)].live()) {
    return false;
  }
  if (request.num_live() == 1) ++counters_.cancelled_requests;
  TokenEvent event;
  event.request_id = id;
  event.choice = choice;
  event.finish_reason = FinishReason::kCancelled;
  event.error = error;
  FinishChoice(request, choice, std::move(event));
  return true;
}

void Engine::CancelAll() {
  std::vector<RequestId> ids;
  for (const auto& [id, request] : requests_) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  for (RequestId id : ids) Cancel(id);
}

void Engine::SampleChoice(RequestState& request, int32_t choice, std::span<const float> logits) {
  Sequence& sequence = request.choices[static_cast<size_t>(choice)];
  Result<sampling::SampledToken> sampled = sequence.sampler->Sample(logits, workspace_);
  Status status = sampled.status();
  if (status.ok()) status = sequence.sampler->Accept(sampled->token_id);
  if (!status.ok()) {
    FinishRequest(request, FinishReason::kError, status);
    return;
  }
  TokenEvent event;
  event.request_id = request.id;
  event.choice = choice;
  event.token_id = sampled->token_id;
  event.index = static_cast<int32_t>(sequence.output_ids.size());
  event.logprob = sampled->logprob;
  event.top_logprobs = std::move(sampled->top_logprobs);
  sequence.output_ids.push_back(event.token_id);
  ++counters_.generated_tokens;
  if (!request.has_first_token) {
    request.has_first_token = true;
    request.first_token = Clock::now();
  }
  if (std::binary_search(request.end_ids.begin(), request.end_ids.end(), event.token_id)) {
    event.finish_reason = FinishReason::kStop;
  } else if (static_cast<int32_t>(sequence.output_ids.size()) ==
             request.request.sampling.max_tokens) {
    event.finish_reason = FinishReason::kLength;
  }
  if (event.finish_reason == FinishReason::kNone) {
    if (request.callback) events_.push_back({request.callback, std::move(event)});
  } else {
    FinishChoice(request, choice, std::move(event));
  }
}

void Engine::Commit(const MutableTensorView& logits) {
  const size_t vocab_size = static_cast<size_t>(runner_.info().vocab_size);
  for (int32_t s = 0; s < plan_.num_seqs(); ++s) {
    const PlannedSequence& planned = plan_.sequences[static_cast<size_t>(s)];
    // Sampling another choice of the same request may have ended it.
    const auto found = requests_.find(planned.request_id);
    if (found == requests_.end()) continue;
    RequestState& request = *found->second;
    const int32_t num_tokens =
        plan_.q_offsets[static_cast<size_t>(s) + 1] - plan_.q_offsets[static_cast<size_t>(s)];
    scheduler_.Advance(request, planned.choice, num_tokens);
    const bool is_prefill = s >= plan_.num_decodes;
    if (is_prefill) counters_.prompt_tokens += num_tokens;
    if (planned.logit_row < 0) continue;
    const std::span<const float> row(logits.Row<float>(planned.logit_row), vocab_size);
    if (!is_prefill) {
      SampleChoice(request, planned.choice, row);
      continue;
    }
    scheduler_.ForkChoices(request);
    const RequestId id = planned.request_id;
    const int32_t num_choices = request.request.n;
    for (int32_t choice = 0; choice < num_choices && requests_.contains(id); ++choice) {
      if (request.choices[static_cast<size_t>(choice)].live()) SampleChoice(request, choice, row);
    }
  }
}

void Engine::FailStep(const Status& error) {
  ++counters_.failed_steps;
  for (const PlannedSequence& planned : plan_.sequences) {
    const auto found = requests_.find(planned.request_id);
    if (found != requests_.end()) FinishRequest(*found->second, FinishReason::kError, error);
  }
  if (Status recovery = runner_.Recover(); !recovery.ok()) Die(recovery);
}

void Engine::Die(const Status& error) {
  dead_ = error;
  std::vector<RequestId> ids;
  for (const auto& [id, request] : requests_) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  for (RequestId id : ids) {
    const auto found = requests_.find(id);
    if (found != requests_.end()) FinishRequest(*found->second, FinishReason::kError, error);
  }
}

Status Engine::Step() {
  Status result = Compute();
  EmitEvents();
  return result;
}

Status Engine::Compute() {
  CHECK(!emitting_) << "a step begun from a callback";
  Status result;
  scheduler_.Plan(plan_, newly_admitted_);
  if (!plan_.empty()) {
    const Clock::time_point begin = Clock::now();
    for (RequestState* request : newly_admitted_) request->admitted = begin;
    const size_t vocab_size = static_cast<size_t>(runner_.info().vocab_size);
    logits_.resize(std::max(logits_.size(), static_cast<size_t>(plan_.num_rows()) * vocab_size));
    MutableTensorView logits(logits_.data(), DType::kF32,
                             {plan_.num_rows(), static_cast<int64_t>(vocab_size)});
    ++counters_.steps;
    result = runner_.Run(plan_, logits).WithPrefix(fmt::format("step {}", plan_.step));
    const Clock::time_point computed = Clock::now();
    counters_.step_ms += MillisecondsSince(begin, computed);
    if (result.ok()) {
      Commit(logits);
      counters_.sample_ms += MillisecondsSince(computed, Clock::now());
    } else {
      FailStep(result);
    }
  }
  return result;
}

void Engine::EmitEvents() {
  emitting_ = true;
  // By index, and one event moved out at a time: a callback may add events (Cancel, Submit).
  for (size_t i = 0; i < events_.size(); ++i) {
    const PendingEvent pending = std::move(events_[i]);
    if (*pending.callback) (*pending.callback)(pending.event);
  }
  events_.clear();
  emitting_ = false;
}

EngineStats Engine::stats() const {
  EngineStats stats = counters_;
  stats.waiting_requests = scheduler_.num_waiting();
  stats.running_requests = scheduler_.num_running();
  stats.running_choices = scheduler_.running_choices();
  stats.total_pages = scheduler_.pool().num_pages();
  stats.free_pages = scheduler_.pool().num_free();
  stats.reserved_pages = scheduler_.pool().num_reserved();
  stats.dead = dead();
  return stats;
}

Status Engine::CheckIntegrity() const {
  if (Status status = scheduler_.CheckIntegrity(); !status.ok()) return status;
  const size_t known = static_cast<size_t>(scheduler_.num_waiting() + scheduler_.num_running());
  if (known != requests_.size()) {
    return Internal(
        fmt::format("engine: {} requests, the scheduler knows {}", requests_.size(), known));
  }
  return OkStatus();
}

}  // namespace rill::engine
