#include "engine/simulator.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "engine/engine.h"
#include "engine/simulator_request.h"
#include "engine/simulator_runner.h"

namespace rill::engine {
namespace {

// SplitMix64: the history is a function of the seed on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 0x1234567u) {}
  uint64_t Next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  // In [low, high].
  int32_t Range(int32_t low, int32_t high) {
    return low + static_cast<int32_t>(Next() % static_cast<uint64_t>(high - low + 1));
  }
  bool OneIn(int32_t n) { return Range(1, n) == 1; }

 private:
  uint64_t state_;
};

RunnerInfo RandomRunner(Random& random) {
  RunnerInfo info;
  info.vocab_size = random.Range(3, 40);
  info.page_size = 1 << random.Range(0, 4);
  info.num_pages = random.Range(1, 40);
  info.max_context = random.Range(4, 90);
  info.max_step_tokens = random.Range(1, 24);
  info.max_step_rows = random.Range(1, 24);
  info.scrubs = random.OneIn(2);
  return info;
}

// Says anything: admission by it must still be safe.
class WildPredictor : public LengthPredictor {
 public:
  explicit WildPredictor(uint64_t seed) : random_(seed) {}
  LengthForecast Predict(const LengthQuery&) const override {
    return {random_.Range(-5, 30), static_cast<double>(random_.Range(-5, 30))};
  }
  void Observe(const LengthQuery&, bool) override {}

 private:
  mutable Random random_;
};

EngineOptions RandomOptions(Random& random, const RunnerInfo& info) {
  EngineOptions options;
  const int32_t limit = std::min(info.max_step_tokens, info.max_step_rows);
  options.max_choices = random.OneIn(3) ? 0 : random.Range(1, limit);
  options.max_waiting = random.Range(1, 12);
  options.max_overtakes = random.Range(0, 5);
  options.seed = random.Next();
  options.prefix_cache = !random.OneIn(5);
  options.predict_lengths = !random.OneIn(4);
  options.length_quantile = 0.1 * random.Range(1, 9);
  if (random.OneIn(3)) options.predictor = std::make_shared<WildPredictor>(random.Next());
  if (random.OneIn(3)) options.itl_target_ms = 0.5 * random.Range(1, 40);
  if (random.OneIn(4)) options.queue_timeout_ms = random.Range(1, 60);
  if (random.OneIn(4)) options.total_timeout_ms = random.Range(1, 120);
  for (int i = random.Range(0, 2); i > 0; --i) {
    options.eos_ids.push_back(random.Range(0, info.vocab_size - 1));
  }
  return options;
}

class Simulation {
 public:
  explicit Simulation(const SimulationOptions& options)
      : options_(options),
        random_(options.seed),
        info_(RandomRunner(random_)),
        engine_options_(RandomOptions(random_, info_)),
        runner_(info_) {
    engine_options_.now = [this] { return now_; };
    // Texts that many requests begin with.
    const int32_t variety = random_.Range(0, std::min(2, info_.vocab_size - 1));
    for (auto& text : common_texts_) {
      text.resize(static_cast<size_t>(info_.max_context));
      for (int32_t& id : text) id = random_.Range(0, variety);
    }
    max_choices_ = engine_options_.max_choices;
    if (max_choices_ == 0) max_choices_ = std::min(info_.max_step_tokens, info_.max_step_rows);
    loses_device_ = random_.OneIn(20);
    fails_steps_ = random_.OneIn(2);
    runner_.before_run = [this](const StepPlan& plan) { return MaybeFail(plan); };
    runner_.after_run = [this](const StepPlan& plan, MutableTensorView logits) {
      MaybePoison(plan, logits);
    };
  }

  Result<SimulationReport> Run() {
    auto engine = Engine::Create(engine_options_, runner_);
    if (!engine.ok()) return engine.status();
    engine_ = std::move(engine).value();
    for (step_ = 1; step_ <= options_.steps && problem_.empty(); ++step_) {
      if (engine_->dead() && random_.OneIn(20)) break;
      Traffic();
      Step();
    }
    draining_ = true;
    // Each step computes at least one token of somebody.
    int64_t bound = 1;
    for (const auto& [id, tracked] : live_) {
      bound += static_cast<int64_t>(tracked->request.prompt_ids.size()) +
               int64_t{tracked->request.n} * tracked->request.sampling.max_tokens;
    }
    for (int64_t i = 0; engine_->HasWork() && problem_.empty(); ++i, ++step_) {
      if (i > bound) Fail(fmt::format("{} requests did not end", live_.size()));
      Step();
    }
    if (problem_.empty() && !live_.empty()) Fail("requests were lost");
    const EngineStats stats = engine_->stats();
    if (problem_.empty() && (stats.used_pages != 0 || stats.reserved_pages != 0)) {
      Fail(fmt::format("{} of {} pages used, {} reserved after all ended", stats.used_pages,
                       info_.num_pages, stats.reserved_pages));
    }
    if (problem_.empty() && stats.accepted_requests != stats.finished_requests) {
      Fail(fmt::format("{} requests accepted, {} finished", stats.accepted_requests,
                       stats.finished_requests));
    }
    if (!problem_.empty()) {
      return Internal(
          fmt::format("simulation: seed {}, step {}: {}", options_.seed, step_, problem_));
    }
    report_.steps = step_ - 1;
    report_.failed_steps = stats.failed_steps;
    report_.cached_tokens = stats.prefix_hits;
    report_.evicted_pages = stats.evicted_pages;
    report_.paused_steps = stats.paused_steps;
    report_.expired = stats.expired_requests;
    return report_;
  }

 private:
  void Fail(const std::string& problem) {
    if (problem_.empty()) problem_ = problem;
  }

  GenerateRequest RandomRequest() {
    GenerateRequest request;
    const int32_t limit = std::min(info_.max_context, info_.num_pages * info_.page_size);
    const int32_t longest = random_.OneIn(4) ? limit + 3 : std::max(2, limit / 3);
    request.prompt_ids.resize(static_cast<size_t>(random_.Range(1, longest)));
    // Few distinct prompts: sequences that differ late are the ones that mix up unnoticed.
    const int32_t variety = random_.Range(0, std::min(2, info_.vocab_size - 1));
    for (int32_t& id : request.prompt_ids) id = random_.Range(0, variety);
    if (random_.OneIn(2)) {
      const std::vector<int32_t>& text = common_texts_[static_cast<size_t>(random_.Range(0, 2))];
      const size_t common = std::min<size_t>(
          {text.size(), request.prompt_ids.size(),
           static_cast<size_t>(random_.Range(1, static_cast<int32_t>(text.size())))});
      std::copy_n(text.begin(), common, request.prompt_ids.begin());
    }
    request.tenant = std::string(static_cast<size_t>(random_.Range(0, 2)), 't');
    request.weight = 0.5 + 0.75 * static_cast<double>(request.tenant.size());
    request.cache_salt = random_.OneIn(4) ? "salt" : "";
    request.length_class = random_.OneIn(2) ? "chat" : "";
    if (random_.OneIn(8)) request.prompt_logprobs = random_.Range(0, 3);
    if (random_.OneIn(12)) request.queue_timeout_ms = random_.Range(1, 20);
    if (random_.OneIn(12)) request.total_timeout_ms = random_.Range(1, 40);
    request.n = random_.OneIn(3) ? random_.Range(1, 5) : 1;
    request.priority = random_.OneIn(3) ? random_.Range(-2, 2) : 0;
    SamplingParams& params = request.sampling;
    params.max_tokens = random_.OneIn(15) ? 0 : random_.Range(1, longest);
    params.min_tokens = random_.OneIn(4) ? random_.Range(0, params.max_tokens) : 0;
    params.ignore_eos = random_.OneIn(4);
    for (int i = random_.OneIn(3) ? random_.Range(0, 2) : 0; i > 0; --i) {
      params.stop_ids.push_back(random_.Range(0, info_.vocab_size - 1));
    }
    // With every id held back there would be nothing to choose.
    if (params.min_tokens > 0 && info_.vocab_size <= 4) params.min_tokens = 0;
    params.temperature = random_.OneIn(3) ? 0.0f : 0.5f * static_cast<float>(random_.Range(1, 4));
    if (random_.OneIn(3)) params.top_k = random_.Range(1, info_.vocab_size);
    if (random_.OneIn(3)) params.top_p = 0.1f * static_cast<float>(random_.Range(1, 10));
    if (random_.OneIn(6)) params.frequency_penalty = 0.5f;
    if (random_.OneIn(6)) params.repetition_penalty = 1.3f;
    if (random_.OneIn(6)) params.logprobs = random_.Range(0, 3);
    if (random_.OneIn(2)) params.seed = random_.Next();
    return request;
  }

  // What the engine must decide about a request, from the numbers alone.
  bool CanEverFit(const GenerateRequest& request) const {
    const int64_t prompt = static_cast<int64_t>(request.prompt_ids.size());
    const int64_t positions = prompt + request.sampling.max_tokens;
    if (positions > info_.max_context || request.n > max_choices_) return false;
    const int64_t own_from = prompt / info_.page_size * info_.page_size;  // what choices share
    const int32_t writers = request.sampling.max_tokens == 0 ? 1 : request.n;
    int64_t pages = prompt / info_.page_size;
    for (int64_t p = own_from; p < positions; p += info_.page_size) pages += writers;
    return pages <= info_.num_pages;
  }

  void Submit() {
    auto tracked = std::make_unique<SimulatedRequest>();
    tracked->request = RandomRequest();
    tracked->eos_ids = engine_options_.eos_ids;
    tracked->submitted_step = step_;
    tracked->choices.resize(static_cast<size_t>(tracked->request.n));
    SimulatedRequest* pointer = tracked.get();
    // UpdateWaiting compares the engine's count with our own after each step.
    const bool full = engine_->stats().waiting_requests >= engine_options_.max_waiting;
    const bool fits = CanEverFit(tracked->request);
    const Result<RequestId> id = engine_->Submit(
        tracked->request, [this, pointer](const TokenEvent& event) { OnEvent(*pointer, event); });
    if (id.ok() != (fits && !full && !engine_->dead())) {
      Fail(fmt::format(
          "request of {} + {} x {} tokens: fits: {}, queue full: {}, dead: {}, answer: {}",
          pointer->request.prompt_ids.size(), pointer->request.n,
          pointer->request.sampling.max_tokens, fits, full, engine_->dead(),
          id.ok() ? "accepted" : id.status().ToString()));
    }
    if (!id.ok()) {
      ++report_.refused;
      return;
    }
    ++report_.accepted;
    pointer->id = *id;
    pointer->submitted_at = now_;
    NotePrefixes(*pointer, pointer->request.prompt_ids, 0);
    waiting_.push_back(*id);
    live_.emplace(*id, std::move(tracked));
  }

  void Cancel() {
    if (live_.empty()) return;
    auto it = live_.begin();
    std::advance(it, random_.Range(0, static_cast<int32_t>(live_.size()) - 1));
    SimulatedRequest& tracked = *it->second;
    const int32_t choice = random_.OneIn(2) ? -1 : random_.Range(0, tracked.request.n - 1);
    for (int32_t c = 0; c < tracked.request.n; ++c) {
      if (choice < 0 || c == choice) tracked.choices[static_cast<size_t>(c)].cancel_asked = true;
    }
    if (engine_->Cancel(tracked.id, choice) && choice < 0) {
      if (engine_->Cancel(tracked.id))
        Fail(fmt::format("request {} was cancelled twice", it->first));
    }
  }

  void Traffic() {
    for (int i = random_.OneIn(4) ? random_.Range(1, 4) : 0; i > 0; --i) Submit();
    if (random_.OneIn(30)) Cancel();
    if (random_.OneIn(2000)) {
      for (auto& [id, tracked] : live_) {
        for (SimulatedChoice& choice : tracked->choices) choice.cancel_asked = true;
      }
      engine_->CancelAll();
      if (engine_->stats().used_pages != 0) Fail("cancelled requests keep pages");
    }
    CheckIntegrity();
  }

  // Every whole-page prefix of a text that was asked for or came out, as one tenant knows it.
  static uint64_t PrefixName(const GenerateRequest& request, std::span<const int32_t> ids) {
    uint64_t hash = TokenHash::Of(ids);
    hash = TokenHash::Next(hash, static_cast<int32_t>(request.tenant.size()));
    return TokenHash::Next(hash, static_cast<int32_t>(request.cache_salt.size()));
  }
  void NotePrefixes(const SimulatedRequest& tracked, const std::vector<int32_t>& ids, size_t from) {
    const size_t page_size = static_cast<size_t>(info_.page_size);
    for (size_t end = (from / page_size + 1) * page_size; end <= ids.size(); end += page_size) {
      computed_prefixes_.insert(PrefixName(tracked.request, std::span(ids).first(end)));
    }
  }
  // What was found computed must have been computed, and by the same tenant.
  void CheckCached(const GenerateRequest& request, int32_t cached_tokens) {
    if (cached_tokens == 0) return;
    const size_t cached = static_cast<size_t>(cached_tokens);
    if (!engine_options_.prefix_cache || request.prompt_logprobs >= 0 ||
        cached >= request.prompt_ids.size() || cached_tokens % info_.page_size != 0 ||
        !computed_prefixes_.contains(
            PrefixName(request, std::span(request.prompt_ids).first(cached)))) {
      Fail(fmt::format("{} of {} prompt tokens came from nowhere", cached,
                       request.prompt_ids.size()));
    }
  }

  // Each named page holds what its name says, and one that nobody holds nothing.
  void CheckNames() {
    const kv::PagePool& pool = engine_->scheduler().pool();
    for (int32_t page = 0; page < info_.num_pages; ++page) {
      if (!pool.index().contains(page)) {
        if (info_.scrubs && pool.refcount(page) == 0 && !runner_.PageIsBlank(page)) {
          return Fail(fmt::format("page {} is free and was not scrubbed", page));
        }
        continue;
      }
      if (!runner_.PageHolds(page, pool.index().TokensOf(page))) {
        return Fail(fmt::format("page {} does not hold what its name says", page));
      }
    }
  }

  Status MaybeFail(const StepPlan& plan) {
    // Steps take time: some for each token, some for each position read.
    const double us = 300 + 40 * plan.num_tokens() + plan.size.kv_reads + random_.Range(0, 100);
    now_ += std::chrono::microseconds(static_cast<int64_t>(us));
    plan_copies_ = static_cast<int64_t>(plan.copies.size());
    if (!fails_steps_ || !random_.OneIn(150)) return OkStatus();
    for (const PlannedSequence& planned : plan.sequences) {
      live_.at(planned.request_id)->fault_planted = true;
    }
    if (loses_device_) {
      runner_.recovery = Internal("planted: the device is lost");
      for (auto& [id, tracked] : live_) tracked->fault_planted = true;
      ++report_.lost_devices;
    }
    return Internal("planted: the step failed");
  }

  void MaybePoison(const StepPlan& plan, MutableTensorView logits) {
    if (plan.num_rows() == 0 || !random_.OneIn(300)) return;
    const int32_t row = random_.Range(0, plan.num_rows() - 1);
    logits.Row<float>(row)[random_.Range(0, info_.vocab_size - 1)] =
        random_.OneIn(2) ? std::numeric_limits<float>::quiet_NaN()
                         : std::numeric_limits<float>::infinity();
    for (const PlannedSequence& planned : plan.sequences) {
      const int32_t prompt_row = row - planned.first_prompt_row;
      if (planned.logit_row == row || (prompt_row >= 0 && prompt_row < planned.num_prompt_rows)) {
        live_.at(planned.request_id)->fault_planted = true;
      }
    }
  }

  void OnEvent(SimulatedRequest& tracked, const TokenEvent& event) {
    if (std::string problem = tracked.OnEvent(event); !problem.empty()) return Fail(problem);
    if (event.token_id >= 0) {
      ++report_.tokens;
      std::vector<int32_t> ids = tracked.request.prompt_ids;
      const auto& tokens = tracked.choices[static_cast<size_t>(event.choice)].tokens;
      if ((ids.size() + tokens.size()) % static_cast<size_t>(info_.page_size) == 0) {
        ids.insert(ids.end(), tokens.begin(), tokens.end());
        NotePrefixes(tracked, ids, ids.size() - 1);
      }
    }
    report_.prompt_logprobs += static_cast<int64_t>(event.prompt_logprobs.size());
    switch (event.finish_reason) {
      case FinishReason::kNone: break;
      case FinishReason::kStop: ++report_.stopped; break;
      case FinishReason::kLength: ++report_.length; break;
      case FinishReason::kCancelled: ++report_.cancelled; break;
      case FinishReason::kError: ++report_.errors; break;
    }
    if (event.is_final) {
      if (std::string problem = tracked.Check(info_.vocab_size); !problem.empty()) Fail(problem);
      report_.longest_wait_steps =
          std::max(report_.longest_wait_steps, step_ - tracked.submitted_step);
      ended_.push_back(tracked.id);
    } else if (random_.OneIn(200)) {
      Cancel();  // from a callback: any request, this one too
    }
    if (!draining_ && random_.OneIn(200)) Submit();
  }

  // The queue's rule, on the simulator's own list: the oldest once it was overtaken often enough;
  // else the tenant served least, of its requests the highest priority, then arrival.
  void CheckAdmission(const std::vector<RequestId>& queue_before,
                      std::map<std::string, double> service) {
    std::vector<RequestId> queue = queue_before;
    for (const Engine::Admission& admission : engine_->last_admissions()) {
      if (queue.empty()) {
        return Fail(fmt::format("request {} was admitted from nowhere", admission.id));
      }
      auto expected = queue.begin();
      if (overtakes_ < engine_options_.max_overtakes) {
        expected = std::min_element(queue.begin(), queue.end(), [&](RequestId a, RequestId b) {
          const GenerateRequest& x = live_.at(a)->request;
          const GenerateRequest& y = live_.at(b)->request;
          if (x.tenant == y.tenant) return std::pair(-x.priority, a) < std::pair(-y.priority, b);
          if (service[x.tenant] != service[y.tenant]) {
            return service[x.tenant] < service[y.tenant];
          }
          // Equally served: who has waited longer with what each would choose.
          return FirstOf(queue, x.tenant) < FirstOf(queue, y.tenant);
        });
      }
      if (*expected != admission.id) {
        return Fail(
            fmt::format("request {} was admitted, it was the turn of {}", admission.id, *expected));
      }
      const GenerateRequest& request = live_.at(admission.id)->request;
      CheckCached(request, admission.cached_tokens);
      service[request.tenant] +=
          (static_cast<double>(request.prompt_ids.size()) - admission.cached_tokens) /
          request.weight;
      overtakes_ = expected == queue.begin() ? 0 : overtakes_ + 1;
      queue.erase(expected);
    }
    last_oldest_ = queue.empty() ? 0 : queue.front();
  }

  // What a tenant would choose among its own.
  RequestId FirstOf(const std::vector<RequestId>& queue, const std::string& tenant) const {
    RequestId first = 0;
    for (RequestId id : queue) {
      const GenerateRequest& request = live_.at(id)->request;
      if (request.tenant != tenant) continue;
      if (first == 0 || request.priority > live_.at(first)->request.priority) first = id;
    }
    return first;
  }

  bool TimeIsUp(const SimulatedRequest& tracked, bool waits) const {
    const auto limit = [](int64_t own, int64_t general) { return own > 0 ? own : general; };
    const int64_t in_all =
        limit(tracked.request.total_timeout_ms, engine_options_.total_timeout_ms);
    const int64_t in_queue =
        limit(tracked.request.queue_timeout_ms, engine_options_.queue_timeout_ms);
    const Clock::duration age = now_ - tracked.submitted_at;
    return (in_all > 0 && age >= std::chrono::milliseconds(in_all)) ||
           (waits && in_queue > 0 && age >= std::chrono::milliseconds(in_queue));
  }

  void Step() {
    // What waits now, oldest first: submitted, not cancelled, not admitted before.
    std::vector<RequestId> queue;
    for (RequestId id : waiting_) {
      const auto found = live_.find(id);
      if (found == live_.end() || AllEndedOrAsked(*found->second)) continue;
      if (TimeIsUp(*found->second, true)) continue;
      queue.push_back(id);
    }
    for (auto& [id, tracked] : live_) {
      const bool waits = std::find(waiting_.begin(), waiting_.end(), id) != waiting_.end();
      tracked->may_expire = tracked->may_expire || TimeIsUp(*tracked, waits);
    }
    std::map<std::string, double> service;
    for (const char* tenant : {"", "t", "tt"}) {
      service[tenant] = engine_->scheduler().queue().ServiceOf(tenant);
    }
    if (queue.empty() || queue.front() != last_oldest_) overtakes_ = 0;
    last_oldest_ = queue.empty() ? 0 : queue.front();
    const EngineStats before = engine_->stats();
    const bool has_requests = before.waiting_requests + before.running_requests > 0;
    const bool may_expire = std::any_of(live_.begin(), live_.end(),
                                        [](const auto& entry) { return entry.second->may_expire; });
    const Status status = engine_->Step();
    if (!status.ok() && status.message().find("planted") == std::string::npos) {
      Fail(status.ToString());
    }
    // After some have expired there may be none left.
    if (has_requests && engine_->last_plan().empty() && !may_expire) {
      Fail("requests wait and nothing is computed");
    }
    if (status.ok()) report_.page_copies += plan_copies_;
    CheckAdmission(queue, std::move(service));
    // The engine's own word for who still waits, to go on from.
    UpdateWaiting();
    for (RequestId id : ended_) live_.erase(id);
    ended_.clear();
    if (status.ok()) CheckNames();
    CheckIntegrity();
  }

  static bool AllEndedOrAsked(const SimulatedRequest& tracked) {
    return std::all_of(
        tracked.choices.begin(), tracked.choices.end(),
        [](const SimulatedChoice& c) { return c.finish != FinishReason::kNone || c.cancel_asked; });
  }

  void UpdateWaiting() {
    const auto& admissions = engine_->last_admissions();
    std::erase_if(waiting_, [&](RequestId id) {
      const auto found = live_.find(id);
      if (found == live_.end() || found->second->finals > 0 || AllEndedOrAsked(*found->second)) {
        return true;
      }
      return std::any_of(admissions.begin(), admissions.end(),
                         [&](const Engine::Admission& admission) { return admission.id == id; });
    });
    if (static_cast<int32_t>(waiting_.size()) != engine_->stats().waiting_requests) {
      Fail(fmt::format("{} requests should wait, {} do", waiting_.size(),
                       engine_->stats().waiting_requests));
    }
  }

  void CheckIntegrity() {
    if (Status status = engine_->CheckIntegrity(); !status.ok()) Fail(status.message());
    const EngineStats stats = engine_->stats();
    if (stats.used_pages + stats.cached_pages + stats.free_pages != info_.num_pages) {
      Fail(fmt::format("{} pages used, {} cached, {} free of {}", stats.used_pages,
                       stats.cached_pages, stats.free_pages, info_.num_pages));
    }
    if (!engine_options_.predict_lengths && stats.paused_choices > 0) {
      Fail("a choice pauses though the worst case was to be covered");
    }
  }

  const SimulationOptions options_;
  Random random_;
  const RunnerInfo info_;
  EngineOptions engine_options_;
  HashRunner runner_;
  Clock::time_point now_ = Clock::time_point() + std::chrono::hours(1);
  std::array<std::vector<int32_t>, 3> common_texts_;
  std::set<uint64_t> computed_prefixes_;  // see NotePrefix
  std::unique_ptr<Engine> engine_;
  int32_t max_choices_ = 0;
  bool loses_device_ = false, fails_steps_ = false, draining_ = false;
  int64_t step_ = 0;
  int64_t plan_copies_ = 0;
  std::map<RequestId, std::unique_ptr<SimulatedRequest>> live_;
  std::vector<RequestId> waiting_;  // submitted and not yet admitted, oldest first
  std::vector<RequestId> ended_;
  RequestId last_oldest_ = 0;
  int32_t overtakes_ = 0;
  std::string problem_;
  SimulationReport report_;
};

}  // namespace

void SimulationReport::Add(const SimulationReport& other) {
  steps += other.steps;
  accepted += other.accepted;
  refused += other.refused;
  stopped += other.stopped;
  length += other.length;
  cancelled += other.cancelled;
  errors += other.errors;
  tokens += other.tokens;
  page_copies += other.page_copies;
  failed_steps += other.failed_steps;
  lost_devices += other.lost_devices;
  cached_tokens += other.cached_tokens;
  evicted_pages += other.evicted_pages;
  paused_steps += other.paused_steps;
  expired += other.expired;
  prompt_logprobs += other.prompt_logprobs;
  longest_wait_steps = std::max(longest_wait_steps, other.longest_wait_steps);
}

Result<SimulationReport> Simulate(const SimulationOptions& options) {
  return Simulation(options).Run();
}

}  // namespace rill::engine
