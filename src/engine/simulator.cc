#include "engine/simulator.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
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
  return info;
}

EngineOptions RandomOptions(Random& random, const RunnerInfo& info) {
  EngineOptions options;
  const int32_t limit = std::min(info.max_step_tokens, info.max_step_rows);
  options.max_choices = random.OneIn(3) ? 0 : random.Range(1, limit);
  options.max_waiting = random.Range(1, 12);
  options.max_overtakes = random.Range(0, 5);
  options.seed = random.Next();
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
    // No request can still need more than its own length, times those before it in line, times how
    // often those were overtaken.
    const int64_t bound = (static_cast<int64_t>(live_.size()) + 1) *
                          (engine_options_.max_overtakes + 1) * (info_.max_context + 2);
    for (int64_t i = 0; engine_->HasWork() && problem_.empty(); ++i, ++step_) {
      if (i > bound) Fail(fmt::format("{} requests did not end", live_.size()));
      Step();
    }
    if (problem_.empty() && !live_.empty()) Fail("requests were lost");
    const EngineStats stats = engine_->stats();
    if (problem_.empty() && (stats.free_pages != info_.num_pages || stats.reserved_pages != 0)) {
      Fail(fmt::format("{} of {} pages free, {} promised after all ended", stats.free_pages,
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
    request.n = random_.OneIn(3) ? random_.Range(1, 5) : 1;
    request.priority = random_.OneIn(3) ? random_.Range(-2, 2) : 0;
    SamplingParams& params = request.sampling;
    params.max_tokens = random_.Range(1, longest);
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
    int64_t pages = prompt / info_.page_size;
    for (int64_t p = own_from; p < positions; p += info_.page_size) pages += request.n;
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
      if (engine_->stats().free_pages != info_.num_pages) Fail("cancelled requests keep pages");
    }
    CheckIntegrity();
  }

  Status MaybeFail(const StepPlan& plan) {
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
      if (planned.logit_row == row) live_.at(planned.request_id)->fault_planted = true;
    }
  }

  void OnEvent(SimulatedRequest& tracked, const TokenEvent& event) {
    if (std::string problem = tracked.OnEvent(event); !problem.empty()) return Fail(problem);
    if (event.token_id >= 0) ++report_.tokens;
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
    if (random_.OneIn(200)) Submit();
  }

  // The queue's rule, on the simulator's own list: highest priority first, then arrival; but the
  // oldest once it was overtaken often enough.
  void CheckAdmission(const std::vector<RequestId>& queue_before) {
    std::vector<RequestId> queue = queue_before;
    const StepPlan& plan = engine_->last_plan();
    for (int32_t s = plan.num_decodes; s < plan.num_seqs(); ++s) {
      const size_t i = static_cast<size_t>(s);
      if (plan.kv_lens[i] != plan.q_offsets[i + 1] - plan.q_offsets[i]) continue;  // a later chunk
      const RequestId id = plan.sequences[i].request_id;
      if (queue.empty()) return Fail(fmt::format("request {} was admitted from nowhere", id));
      auto expected = queue.begin();
      if (overtakes_ < engine_options_.max_overtakes) {
        expected = std::max_element(queue.begin(), queue.end(), [this](RequestId a, RequestId b) {
          return live_.at(a)->request.priority < live_.at(b)->request.priority;
        });
      }
      if (*expected != id) {
        return Fail(fmt::format("request {} was admitted, it was the turn of {}", id, *expected));
      }
      overtakes_ = expected == queue.begin() ? 0 : overtakes_ + 1;
      queue.erase(expected);
    }
    last_oldest_ = queue.empty() ? 0 : queue.front();
  }

  void Step() {
    // What waits now, oldest first: submitted, not cancelled, not admitted before.
    std::vector<RequestId> queue;
    for (RequestId id : waiting_) {
      const auto found = live_.find(id);
      if (found == live_.end() || AllEndedOrAsked(*found->second)) continue;
      queue.push_back(id);
    }
    if (queue.empty() || queue.front() != last_oldest_) overtakes_ = 0;
    last_oldest_ = queue.empty() ? 0 : queue.front();
    const EngineStats before = engine_->stats();
    const bool has_requests = before.waiting_requests + before.running_requests > 0;
    const Status status = engine_->Step();
    if (!status.ok() && status.message().find("planted") == std::string::npos) {
      Fail(status.ToString());
    }
    if (has_requests && engine_->last_plan().empty()) Fail("requests wait and nothing is computed");
    if (status.ok()) report_.page_copies += plan_copies_;
    if (!engine_->last_plan().empty()) CheckAdmission(queue);
    // The engine's own word for who still waits, to go on from.
    UpdateWaiting();
    for (RequestId id : ended_) live_.erase(id);
    ended_.clear();
    CheckIntegrity();
  }

  static bool AllEndedOrAsked(const SimulatedRequest& tracked) {
    return std::all_of(
        tracked.choices.begin(), tracked.choices.end(),
        [](const SimulatedChoice& c) { return c.finish != FinishReason::kNone || c.cancel_asked; });
  }

  void UpdateWaiting() {
    const StepPlan& plan = engine_->last_plan();
    std::erase_if(waiting_, [&](RequestId id) {
      const auto found = live_.find(id);
      if (found == live_.end() || found->second->finals > 0 || AllEndedOrAsked(*found->second)) {
        return true;
      }
      return std::any_of(plan.sequences.begin(), plan.sequences.end(),
                         [&](const PlannedSequence& planned) { return planned.request_id == id; });
    });
    if (static_cast<int32_t>(waiting_.size()) != engine_->stats().waiting_requests) {
      Fail(fmt::format("{} requests should wait, {} do", waiting_.size(),
                       engine_->stats().waiting_requests));
    }
  }

  void CheckIntegrity() {
    if (Status status = engine_->CheckIntegrity(); !status.ok()) Fail(status.message());
  }

  const SimulationOptions options_;
  Random random_;
  const RunnerInfo info_;
  const EngineOptions engine_options_;
  HashRunner runner_;
  std::unique_ptr<Engine> engine_;
  int32_t max_choices_ = 0;
  bool loses_device_ = false, fails_steps_ = false;
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
  longest_wait_steps = std::max(longest_wait_steps, other.longest_wait_steps);
}

Result<SimulationReport> Simulate(const SimulationOptions& options) {
  return Simulation(options).Run();
}

}  // namespace rill::engine
