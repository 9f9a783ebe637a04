#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <new>

#include "base/check.h"
#include "sampling/row_passes.h"
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

constexpr int64_t kMaxTimeoutMs = int64_t{366} * 24 * 3600 * 1000;

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
  if (!(options.length_quantile > 0 && options.length_quantile < 1)) {
    return InvalidArgument(fmt::format(
        "engine: length_quantile: expected a number in (0, 1), got {}", options.length_quantile));
  }
  if (!(options.itl_target_ms >= 0)) {
    return InvalidArgument(fmt::format("engine: itl_target_ms: expected 0 (off) or more, got {}",
                                       options.itl_target_ms));
  }
  if (options.queue_timeout_ms < 0) {
    return BadOption("queue_timeout_ms", "0 (none) or more", options.queue_timeout_ms);
  }
  if (options.total_timeout_ms < 0) {
    return BadOption("total_timeout_ms", "0 (none) or more", options.total_timeout_ms);
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
  scheduler_options.prefix_cache = options.prefix_cache;
  scheduler_options.predict_lengths = options.predict_lengths;
  scheduler_options.itl_target_ms = options.itl_target_ms;
  scheduler_options.step_hint = options.step_hint;
  scheduler_options.predictor = options.predictor
                                    ? options.predictor
                                    : std::make_shared<SurvivalPredictor>(options.length_quantile);
  if (scheduler_options.max_choices < 1 || scheduler_options.max_choices > step_limit) {
    return InvalidArgument(
        fmt::format("engine: max_choices: expected 1 to {} (the largest step), got {}", step_limit,
                    options.max_choices));
  }
  return std::unique_ptr<Engine>(new Engine(options, scheduler_options, runner));
}

Engine::Engine(EngineOptions options, const SchedulerOptions& scheduler_options, StepRunner& runner)
    : options_(std::move(options)),
      runner_(runner),
      predictor_(scheduler_options.predictor),
      scheduler_(scheduler_options),
      workspaces_(static_cast<size_t>(runner.num_threads())) {
  forecast_ = scheduler_.ForecastWait(Now());
  draws_.reserve(static_cast<size_t>(options_.max_choices));
}

Engine::~Engine() {
  // Callbacks may point to what is already gone: pages go back, nobody is told.
  for (auto& [id, request] : requests_) request->callback = nullptr;
  try {
    CancelAll();
  } catch (const std::bad_alloc&) {
    GiveUp();
  }
  if (given_up_) EndGivenUp();
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
  if (request.prompt_logprobs < -1 || request.prompt_logprobs > SamplingParams::kMaxLogprobs) {
    return InvalidArgument(fmt::format("prompt_logprobs: expected -1 (none) or 0 to {}, got {}",
                                       SamplingParams::kMaxLogprobs, request.prompt_logprobs));
  }
  // Names end up in tables; a year of milliseconds is no limit, and sums of it do not overflow.
  for (const auto& [name, value] :
       {std::pair<const char*, const std::string*>{"tenant", &request.tenant},
        {"cache_salt", &request.cache_salt},
        {"length_class", &request.length_class}}) {
    if (value->size() > GenerateRequest::kMaxNameBytes) {
      return InvalidArgument(fmt::format("{}: expected at most {} bytes, got {}", name,
                                         GenerateRequest::kMaxNameBytes, value->size()));
    }
  }
  if (!(request.weight >= 0.001 && request.weight <= 1000)) {
    return InvalidArgument(fmt::format("weight: expected 0.001 to 1000, got {}", request.weight));
  }
  for (const auto& [name, value] :
       {std::pair<const char*, int64_t>{"queue_timeout_ms", request.queue_timeout_ms},
        {"total_timeout_ms", request.total_timeout_ms}}) {
    if (value < 0 || value > kMaxTimeoutMs) {
      return InvalidArgument(
          fmt::format("{}: expected 0 to {}, got {}", name, kMaxTimeoutMs, value));
    }
  }
  return scheduler_.CheckFits(request);
}

ArrivalLoad Engine::LoadOf(std::string_view tenant, std::string_view length_class,
                           int32_t max_tokens, int32_t choices, double prompt_tokens) const {
  const LengthForecast forecast =
      scheduler_.Forecast({tenant, length_class, {}, std::max(0, max_tokens), 0});
  const double held = options_.predict_lengths ? forecast.held_tokens : std::max(0, max_tokens);
  return ArrivalLoad::Of(choices, prompt_tokens, forecast.expected_tokens, held);
}

ArrivalLoad Engine::LoadOf(const GenerateRequest& request) const {
  return LoadOf(request.tenant, request.length_class, request.sampling.max_tokens, request.n,
                static_cast<double>(request.prompt_ids.size()));
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
  since_forecast_ += LoadOf(request);
  auto state = std::make_unique<RequestState>();
  state->id = id;
  state->submitted = Now();
  const int64_t queue_timeout_ms =
      request.queue_timeout_ms > 0 ? request.queue_timeout_ms : options_.queue_timeout_ms;
  const int64_t total_timeout_ms =
      request.total_timeout_ms > 0 ? request.total_timeout_ms : options_.total_timeout_ms;
  if (queue_timeout_ms > 0) {
    state->queue_deadline = state->submitted + std::chrono::milliseconds(queue_timeout_ms);
  }
  if (total_timeout_ms > 0) {
    state->deadline = state->submitted + std::chrono::milliseconds(total_timeout_ms);
  }
  next_deadline_ = std::min({next_deadline_, state->queue_deadline, state->deadline});
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
  const auto place = requests_.emplace(id, std::move(state)).first;
  try {
    scheduler_.Enqueue(*place->second);
  } catch (const std::bad_alloc&) {
    requests_.erase(place);
    ++counters_.refused_requests;
    return Unavailable("out of memory");
  }
  ++counters_.accepted_requests;
  return id;
}

void Engine::FillUsage(const RequestState& request, Usage& usage) const {
  const Clock::time_point now = Now();
  usage.prompt_tokens = request.prompt_size();
  usage.cached_tokens = request.cached_tokens;
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

void Engine::FinishChoice(RequestState& request, int32_t choice, TokenEvent event, bool by_itself) {
  scheduler_.FinishChoice(request, choice, event.finish_reason, by_itself);
  event.is_final = request.num_live() == 0;
  if (event.is_final) FillUsage(request, event.usage);
  const bool is_final = event.is_final;
  if (request.callback) events_.push_back({request.callback, std::move(event)});
  if (!is_final) return;
  request.told_end = true;
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
    FinishChoice(request, choice, std::move(event), false);
  }
}

bool Engine::Cancel(RequestId id, int32_t choice) {
  const auto found = requests_.find(id);
  if (found == requests_.end() || given_up_) return false;
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
  // One choice is cancelled for what it says (a stop string): that is its natural end.
  FinishChoice(request, choice, std::move(event), true);
  return true;
}

void Engine::CancelAll() {
  if (given_up_) return;
  std::vector<RequestId> ids;
  for (const auto& [id, request] : requests_) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  for (RequestId id : ids) Cancel(id);
}

void Engine::Record(RequestState& request, int32_t choice, Result<sampling::SampledToken> drawn) {
  Sequence& sequence = request.choices[static_cast<size_t>(choice)];
  const auto accept = [&]() -> Status {
    if (!drawn.ok()) return drawn.status();
    try {
      return sequence.sampler->Accept(drawn->token_id);
    } catch (const std::bad_alloc&) {
      return Unavailable("out of memory");
    }
  };
  const Status status = accept();
  if (!status.ok()) {
    scheduler_.Distrust(request);
    FinishRequest(request, FinishReason::kError, status);
    return;
  }
  TokenEvent event;
  event.request_id = request.id;
  event.choice = choice;
  event.token_id = drawn->token_id;
  event.index = static_cast<int32_t>(sequence.output_ids.size());
  event.logprob = drawn->logprob;
  event.top_logprobs = std::move(drawn->top_logprobs);
  sequence.output_ids.push_back(event.token_id);
  ++counters_.generated_tokens;
  scheduler_.CountToken(request);
  if (!request.has_first_token) {
    request.has_first_token = true;
    request.first_token = Now();
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
    const bool by_itself = event.finish_reason == FinishReason::kStop;
    FinishChoice(request, choice, std::move(event), by_itself);
  }
}

std::span<const float> Engine::RowOf(const MutableTensorView& logits, int32_t row) const {
  return {logits.Row<float>(row), static_cast<size_t>(runner_.info().vocab_size)};
}

// On a thread of the runner.
Result<sampling::SampledToken> Engine::Score(const RequestState& request, int32_t position,
                                             std::span<const float> row,
                                             sampling::SamplerWorkspace& workspace) noexcept {
  try {
    if (const int64_t bad = sampling::FirstNonFinite(row); bad >= 0) {
      return DataLoss(fmt::format("logit of token {} after prompt position {} is {}", bad, position,
                                  row[static_cast<size_t>(bad)]));
    }
    sampling::SampledToken scored;
    scored.token_id = request.request.prompt_ids[static_cast<size_t>(position) + 1];
    sampling::ComputeLogprobs(row, request.request.prompt_logprobs, workspace, scored);
    return scored;
  } catch (const std::bad_alloc&) {
    return Unavailable("out of memory");
  }
}

bool Engine::EmitPromptLogprobs(RequestState& request, const PlannedSequence& planned,
                                int32_t first_position, const MutableTensorView& logits) {
  TokenEvent event;
  event.request_id = request.id;
  event.prompt_position = first_position + 1;
  while (!request.choices[static_cast<size_t>(event.choice)].live()) ++event.choice;
  const auto num_rows = static_cast<size_t>(planned.num_prompt_rows);
  std::vector<Result<sampling::SampledToken>> scores(num_rows, sampling::SampledToken{});
  runner_.ForEach(planned.num_prompt_rows, [&](int64_t i, int thread) {
    scores[static_cast<size_t>(i)] =
        Score(request, first_position + static_cast<int32_t>(i),
              RowOf(logits, planned.first_prompt_row + static_cast<int32_t>(i)),
              workspaces_[static_cast<size_t>(thread)]);
  });
  event.prompt_logprobs.reserve(num_rows);
  for (Result<sampling::SampledToken>& scored : scores) {
    if (!scored.ok()) {
      scheduler_.Distrust(request);
      FinishRequest(request, FinishReason::kError, scored.status());
      return false;
    }
    event.prompt_logprobs.push_back({scored->logprob, std::move(scored->top_logprobs)});
  }
  if (request.callback) events_.push_back({request.callback, std::move(event)});
  return true;
}

void Engine::EndWithoutTokens(RequestState& request) {
  const RequestId id = request.id;
  const int32_t num_choices = request.request.n;
  for (int32_t choice = 0; choice < num_choices && requests_.contains(id); ++choice) {
    if (!request.choices[static_cast<size_t>(choice)].live()) continue;
    TokenEvent event;
    event.request_id = id;
    event.choice = choice;
    event.finish_reason = FinishReason::kLength;
    FinishChoice(request, choice, std::move(event), false);
  }
}

void Engine::Advance(const PlannedSequence& planned, int32_t num_tokens, bool is_prefill,
                     const MutableTensorView& logits) {
  const auto found = requests_.find(planned.request_id);
  if (found == requests_.end()) return;
  RequestState& request = *found->second;
  scheduler_.Advance(request, planned.choice, num_tokens);
  if (is_prefill) counters_.prompt_tokens += num_tokens;
  const int32_t computed = request.choices[static_cast<size_t>(planned.choice)].num_computed;
  if (planned.num_prompt_rows > 0 &&
      !EmitPromptLogprobs(request, planned, computed - num_tokens, logits)) {
    return;
  }
  if (planned.logit_row < 0) return;
  int32_t begin = planned.choice, end = begin + 1;
  if (is_prefill) {
    scheduler_.ForkChoices(request);
    if (request.request.sampling.max_tokens == 0) return EndWithoutTokens(request);
    begin = 0;
    end = request.request.n;
  }
  for (int32_t choice = begin; choice < end; ++choice) {
    const Sequence& sequence = request.choices[static_cast<size_t>(choice)];
    if (!sequence.live()) continue;
    draws_.push_back({request.id, choice, planned.logit_row, sequence.sampler.get(), {}});
  }
}

bool Engine::TakesBest(const PlannedSequence& planned, bool is_prefill) const {
  const auto found = requests_.find(planned.request_id);
  if (found == requests_.end()) return false;
  const RequestState& request = *found->second;
  int32_t begin = planned.choice, end = begin + 1;
  if (is_prefill) {
    begin = 0;
    end = request.request.n;
  }
  for (int32_t choice = begin; choice < end; ++choice) {
    const Sequence& sequence = request.choices[static_cast<size_t>(choice)];
    if (sequence.live() && !sequence.sampler->TakesBest()) return false;
  }
  return true;
}

void Engine::ChooseWanted() {
  plan_.wanted.assign(static_cast<size_t>(plan_.num_rows()), 1);
  for (int32_t s = 0; s < plan_.num_seqs(); ++s) {
    const PlannedSequence& planned = plan_.sequences[static_cast<size_t>(s)];
    if (planned.logit_row >= 0 && TakesBest(planned, s >= plan_.num_decodes)) {
      plan_.wanted[static_cast<size_t>(planned.logit_row)] = 0;
    }
  }
}

void Engine::Commit(const MutableTensorView& logits) {
  draws_.clear();
  for (int32_t s = 0; s < plan_.num_seqs(); ++s) {
    const auto index = static_cast<size_t>(s);
    Advance(plan_.sequences[index], plan_.q_offsets[index + 1] - plan_.q_offsets[index],
            s >= plan_.num_decodes, logits);
  }
  // A draw reads its row, its choice's state and nothing else: any thread may do it.
  runner_.ForEach(static_cast<int64_t>(draws_.size()), [&](int64_t i, int thread) {
    Draw& draw = draws_[static_cast<size_t>(i)];
    try {
      const ops::BestLogit best = best_[static_cast<size_t>(draw.row)];
      draw.token = best.token_id >= 0
                       ? draw.sampler->Take(best.token_id, best.logit, runner_.info().vocab_size)
                       : draw.sampler->Sample(RowOf(logits, draw.row),
                                              workspaces_[static_cast<size_t>(thread)]);
    } catch (const std::bad_alloc&) {
      draw.token = Unavailable("out of memory");
    }
  });
  for (Draw& draw : draws_) {
    // An error of another choice may have ended the request.
    const auto found = requests_.find(draw.request_id);
    if (found == requests_.end()) continue;
    Record(*found->second, draw.choice, *std::move(draw.token));
  }
}

void Engine::FailStep(const Status& error) {
  ++counters_.failed_steps;
  for (const PlannedSequence& planned : plan_.sequences) {
    const auto found = requests_.find(planned.request_id);
    if (found == requests_.end()) continue;
    scheduler_.Distrust(*found->second);
    FinishRequest(*found->second, FinishReason::kError, error);
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

void Engine::ExpireDeadlines() {
  const Clock::time_point now = Now();
  if (now < next_deadline_) return;
  next_deadline_ = Clock::time_point::max();
  std::vector<RequestId> expired;
  for (const auto& [id, request] : requests_) {
    const bool waits = request->phase == Phase::kWaiting;
    const Clock::time_point deadline =
        waits ? std::min(request->queue_deadline, request->deadline) : request->deadline;
    if (deadline <= now) {
      expired.push_back(id);
    } else {
      next_deadline_ = std::min(next_deadline_, deadline);
    }
  }
  std::sort(expired.begin(), expired.end());
  for (RequestId id : expired) {
    RequestState& request = *requests_.at(id);
    ++counters_.expired_requests;
    const double ms = MillisecondsSince(request.submitted, now);
    const bool waits = request.phase == Phase::kWaiting;
    FinishRequest(request, FinishReason::kError,
                  waits
                      ? Unavailable(fmt::format("{:.0f} ms in the queue, the limit is over", ms))
                      : ResourceExhausted(fmt::format("{:.0f} ms in all, the limit is over", ms)));
  }
}

void Engine::RefreshForecast(Clock::time_point now) {
  // Not oftener, but when all is over: that costs nothing.
  const bool is_idle = scheduler_.num_waiting() == 0 && scheduler_.running_choices() == 0;
  if (!is_idle && forecast_made_ != Clock::time_point::min() &&
      now - forecast_made_ < std::chrono::milliseconds(50)) {
    return;
  }
  try {
    forecast_ = scheduler_.ForecastWait(now);
    forecast_made_ = now;
    since_forecast_ = {};
  } catch (const std::bad_alloc&) {
    // The one before has to do: no request depends on it.
  }
}

Status Engine::Step() {
  Status result = Compute();
  EmitEvents();
  return result;
}

Status Engine::Compute() {
  CHECK(!emitting_) << "a step begun from a callback";
  if (given_up_) return dead_;
  try {
    return ComputeStep();
  } catch (const std::bad_alloc&) {
    GiveUp();
    return {StatusCode::kUnavailable, "out of memory"};
  }
}

void Engine::GiveUp() noexcept {
  if (given_up_) return;
  given_up_ = true;
  dead_ = std::move(no_memory_);
  ++counters_.failed_steps;
  // Room for what is still to be told.
  AlignedVector<float>().swap(logits_);
}

void Engine::EndGivenUp() {
  for (auto& [id, request] : requests_) {
    for (Sequence& choice : request->choices) choice.pages.Forget();
    if (request->told_end || !request->callback || !*request->callback) continue;
    TokenEvent event;
    event.request_id = id;
    while (event.choice + 1 < request->request.n &&
           !request->choices[static_cast<size_t>(event.choice)].live()) {
      ++event.choice;
    }
    event.finish_reason = FinishReason::kError;
    event.is_final = true;
    event.error = {StatusCode::kUnavailable, "out of memory"};  // so short that it takes none
    try {
      (*request->callback)(event);
    } catch (const std::bad_alloc&) {
      // As in EmitEvents.
    }
  }
  counters_.error_requests += static_cast<int64_t>(requests_.size());
  requests_.clear();
}

// The one part of a step whose failure leaves the engine's state as planned.
Status Engine::RunPlan() {
  const size_t vocab_size = static_cast<size_t>(runner_.info().vocab_size);
  try {
    logits_.resize(std::max(logits_.size(), static_cast<size_t>(plan_.num_rows()) * vocab_size));
    best_.assign(static_cast<size_t>(plan_.num_rows()), {});
    ChooseWanted();
    return runner_.Run(plan_, {LogitsOfPlan(), best_})
        .WithPrefix(fmt::format("step {}", plan_.step));
  } catch (const std::bad_alloc&) {
    return Unavailable("out of memory");
  }
}

void Engine::ScrubUnheld() {
  const std::span<const int32_t> pages = scheduler_.pool().unheld();
  if (pages.empty()) return;
  runner_.Scrub(pages);
  scheduler_.ClearUnheld();
}

MutableTensorView Engine::LogitsOfPlan() {
  return {logits_.data(), DType::kF32, {plan_.num_rows(), int64_t{runner_.info().vocab_size}}};
}

Status Engine::ComputeStep() {
  Status result;
  ExpireDeadlines();
  const Clock::time_point begin = Now();
  scheduler_.Plan(plan_, newly_admitted_);
  last_admissions_.clear();
  for (RequestState* request : newly_admitted_) {
    request->admitted = begin;
    last_admissions_.push_back({request->id, request->cached_tokens});
  }
  ScrubUnheld();  // what this step's sequences have taken, before they write to it
  if (!plan_.empty()) {
    ++counters_.steps;
    const Clock::time_point planned = Now();
    counters_.plan_ms += MillisecondsSince(begin, planned);
    result = RunPlan();
    const Clock::time_point computed = Now();
    counters_.step_ms += MillisecondsSince(planned, computed);
    counters_.step_cost += runner_.Cost(plan_);
    if (result.ok()) {
      Commit(LogitsOfPlan());
      const Clock::time_point sampled = Now();
      const double step_ms = MillisecondsSince(begin, sampled);
      counters_.sample_ms += MillisecondsSince(computed, sampled);
      counters_.step_tokens.Add(plan_.num_tokens(), EngineStats::kStepTokens);
      counters_.step_time_ms.Add(step_ms, EngineStats::kStepMs);
      scheduler_.ObserveStep(plan_, step_ms);
    } else {
      FailStep(result);
    }
  }
  RefreshForecast(Now());
  return result;
}

void Engine::EmitEvents(const std::function<void()>& after) {
  emitting_ = true;
  const Clock::time_point begin = Now();
  // By index, and one event moved out at a time: a callback may add events (Cancel, Submit).
  for (size_t i = 0; i < events_.size(); ++i) {
    const PendingEvent pending = std::move(events_[i]);
    if (!*pending.callback) continue;
    try {
      (*pending.callback)(pending.event);
    } catch (const std::bad_alloc&) {
      // Lost to its reader; one that must not lose any keeps memory for that (TextService does).
    }
  }
  events_.clear();
  if (given_up_) EndGivenUp();
  // Without events too: the owner may have told of an end by itself.
  if (after) after();
  if (!given_up_) ScrubUnheld();
  emitting_ = false;
  counters_.emit_ms += MillisecondsSince(begin, Now());
}

EngineStats Engine::stats() const {
  EngineStats stats = counters_;
  if (given_up_) {
    stats.dead = true;
    stats.dead_reason = dead_.message();
    return stats;
  }
  stats.waiting_requests = scheduler_.num_waiting();
  stats.running_requests = scheduler_.num_running();
  stats.running_choices = scheduler_.running_choices();
  stats.paused_choices = scheduler_.paused_choices();
  const kv::PagePool& pool = scheduler_.pool();
  stats.total_pages = pool.num_pages();
  stats.used_pages = pool.num_used();
  stats.cached_pages = pool.num_cached();
  stats.free_pages = pool.num_free();
  stats.reserved_pages = scheduler_.BankNow();
  stats.evicted_pages = pool.num_evicted();
  stats.prefix_queries = scheduler_.counters().prefix_queries;
  stats.prefix_hits = scheduler_.counters().prefix_hits;
  stats.paused_steps = scheduler_.counters().paused_steps;
  stats.estimated_wait_ms = requests_.empty() ? 0 : forecast_.wait_ms;
  stats.dead = dead();
  if (dead()) stats.dead_reason = dead_.message();
  return stats;
}

Status Engine::CheckIntegrity() const {
  if (given_up_) return dead_;
  if (Status status = scheduler_.CheckIntegrity(); !status.ok()) return status;
  const size_t known = static_cast<size_t>(scheduler_.num_waiting() + scheduler_.num_running());
  if (known != requests_.size()) {
    return Internal(
        fmt::format("engine: {} requests, the scheduler knows {}", requests_.size(), known));
  }
  return OkStatus();
}

}  // namespace rill::engine
