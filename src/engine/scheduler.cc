#include "engine/scheduler.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace rill::engine {

Scheduler::Scheduler(const SchedulerOptions& options)
    : options_(options), pool_(options.runner.num_pages) {
  // So every decode has its row in every step. A prefilling request counts with all its choices, so
  // that at least one row is left for it.
  CHECK(options_.max_choices >= 1 && options_.max_choices <= options_.runner.max_step_tokens &&
        options_.max_choices <= options_.runner.max_step_rows)
      << options_.max_choices;
}

int64_t Scheduler::PagesOfRequest(const GenerateRequest& request) const {
  const int64_t prompt = static_cast<int64_t>(request.prompt_ids.size());
  const int64_t shared = prompt / options_.runner.page_size;
  const int64_t total =
      kv::PagesFor(prompt + request.sampling.max_tokens, options_.runner.page_size);
  return shared + request.n * (total - shared);
}

Status Scheduler::CheckFits(const GenerateRequest& request) const {
  const RunnerInfo& runner = options_.runner;
  const int64_t prompt = static_cast<int64_t>(request.prompt_ids.size());
  const int64_t positions = prompt + request.sampling.max_tokens;
  const int64_t pool_positions = int64_t{runner.num_pages} * runner.page_size;
  const int64_t limit = std::min<int64_t>(runner.max_context, pool_positions);
  if (positions > limit) {
    return InvalidArgument(
        fmt::format("prompt {} + max_tokens {} = {} positions, this engine holds {}", prompt,
                    request.sampling.max_tokens, positions, limit));
  }
  if (request.n > options_.max_choices) {
    return InvalidArgument(
        fmt::format("n: {} choices, this engine runs {} at once", request.n, options_.max_choices));
  }
  const int64_t pages = PagesOfRequest(request);
  if (pages > runner.num_pages) {
    return InvalidArgument(fmt::format(
        "prompt {} + {} choices of max_tokens {} need {} pages of {} positions, this engine has {}",
        prompt, request.n, request.sampling.max_tokens, pages, runner.page_size, runner.num_pages));
  }
  return OkStatus();
}

void Scheduler::Enqueue(RequestState& request) {
  CHECK(request.phase == Phase::kWaiting && !by_arrival_.contains(request.id)) << request.id;
  by_priority_.emplace(-int64_t{request.request.priority}, request.id);
  by_arrival_.emplace(request.id, &request);
}

RequestState* Scheduler::NextWaiting() const {
  if (by_arrival_.empty()) return nullptr;
  if (overtakes_of_oldest_ >= options_.max_overtakes) return by_arrival_.begin()->second;
  return by_arrival_.at(by_priority_.begin()->second);
}

int32_t Scheduler::RemainingNeed(const RequestState& request) const {
  const int32_t page_size = options_.runner.page_size;
  const int32_t total = kv::PagesFor(request.max_positions(), page_size);
  const int32_t shared = request.prompt_size() / page_size;
  if (request.phase == Phase::kWaiting) return 0;
  if (request.phase == Phase::kPrefill) {
    return shared + request.num_live() * (total - shared) - request.choices[0].pages.num_pages();
  }
  // Each live choice grows to `total`. Of those that still share the prompt's last, partial page,
  // all but the last one to write copy it.
  int32_t need = 0;
  int32_t sharers = 0;
  for (const Sequence& choice : request.choices) {
    if (!choice.live()) continue;
    need += total - choice.pages.num_pages();
    if (choice.pages.num_pages() > shared &&
        pool_.refcount(choice.pages.pages()[static_cast<size_t>(shared)]) > 1) {
      ++sharers;
    }
  }
  return need + std::max(0, sharers - 1);
}

void Scheduler::ShrinkPromise(RequestState& request) {
  const int32_t need = request.num_live() == 0 ? 0 : RemainingNeed(request);
  CHECK(need <= request.reserved_pages) << "request " << request.id << " may need " << need
                                        << " pages, has a promise of " << request.reserved_pages;
  pool_.Unreserve(request.reserved_pages - need);
  request.reserved_pages = need;
}

void Scheduler::PlanSequence(RequestState& request, int32_t choice, int32_t num_tokens,
                             StepPlan& plan) {
  Sequence& sequence = request.choices[static_cast<size_t>(choice)];
  const int32_t begin = sequence.num_computed;
  const int32_t end = begin + num_tokens;
  const int32_t prompt = request.prompt_size();
  request.reserved_pages -=
      sequence.pages.PrepareWrite(pool_, options_.runner.page_size, begin, end, plan.copies);
  CHECK(request.reserved_pages >= 0) << "request " << request.id << " took more than promised";
  for (int32_t position = begin; position < end; ++position) {
    plan.token_ids.push_back(position < prompt
                                 ? request.request.prompt_ids[static_cast<size_t>(position)]
                                 : sequence.output_ids[static_cast<size_t>(position - prompt)]);
    plan.positions.push_back(position);
  }
  PlannedSequence planned{request.id, choice, -1};
  if (end == prompt + static_cast<int32_t>(sequence.output_ids.size())) {
    planned.logit_row = plan.num_rows();
    plan.logit_rows.push_back(plan.num_tokens() - 1);
  }
  plan.sequences.push_back(planned);
  planned_.push_back(&sequence);
  plan.q_offsets.push_back(plan.num_tokens());
  plan.kv_lens.push_back(end);
  plan.max_pages = std::max(plan.max_pages, sequence.pages.num_pages());
}

bool Scheduler::TryAdmit(StepPlan& plan, int32_t& budget,
                         std::vector<RequestState*>& newly_admitted) {
  RequestState* request = NextWaiting();
  if (request == nullptr || budget == 0) return false;
  const int32_t live = request->num_live();
  if (running_choices_ + live > options_.max_choices) return false;
  // Choices that were cancelled in the queue need nothing.
  request->phase = Phase::kPrefill;
  const int32_t pages = RemainingNeed(*request);
  if (!pool_.Reserve(pages)) {
    request->phase = Phase::kWaiting;
    return false;
  }
  request->reserved_pages = pages;
  overtakes_of_oldest_ = request == by_arrival_.begin()->second ? 0 : overtakes_of_oldest_ + 1;
  by_priority_.erase({-int64_t{request->request.priority}, request->id});
  by_arrival_.erase(request->id);
  running_.push_back(request);
  running_choices_ += live;
  newly_admitted.push_back(request);
  const int32_t chunk = std::min(budget, request->prompt_size());
  PlanSequence(*request, 0, chunk, plan);
  budget -= chunk;
  return true;
}

void Scheduler::Plan(StepPlan& plan, std::vector<RequestState*>& newly_admitted) {
  plan = {};
  plan.step = ++step_;
  plan.q_offsets.push_back(0);
  planned_.clear();
  newly_admitted.clear();
  int32_t budget = options_.runner.max_step_tokens;
  for (RequestState* request : running_) {
    if (request->phase != Phase::kDecode) continue;
    for (int32_t choice = 0; choice < request->request.n; ++choice) {
      if (!request->choices[static_cast<size_t>(choice)].live()) continue;
      PlanSequence(*request, choice, 1, plan);
      --budget;
    }
  }
  plan.num_decodes = plan.num_seqs();
  for (RequestState* request : running_) {
    if (request->phase != Phase::kPrefill || budget == 0) continue;
    const int32_t chunk =
        std::min(budget, request->prompt_size() - request->choices[0].num_computed);
    PlanSequence(*request, 0, chunk, plan);
    budget -= chunk;
  }
  while (TryAdmit(plan, budget, newly_admitted)) {
  }
  FinishPlan(plan);
}

void Scheduler::FinishPlan(StepPlan& plan) const {
  plan.page_table.assign(planned_.size() * static_cast<size_t>(plan.max_pages), -1);
  auto row = plan.page_table.begin();
  for (const Sequence* sequence : planned_) {
    std::copy(sequence->pages.pages().begin(), sequence->pages.pages().end(), row);
    row += plan.max_pages;
  }
}

void Scheduler::Advance(RequestState& request, int32_t choice, int32_t num_tokens) {
  Sequence& sequence = request.choices[static_cast<size_t>(choice)];
  sequence.num_computed += num_tokens;
}

void Scheduler::ForkChoices(RequestState& request) {
  CHECK(request.phase == Phase::kPrefill &&
        request.choices[0].num_computed == request.prompt_size())
      << request.id;
  request.phase = Phase::kDecode;
  for (size_t choice = 1; choice < request.choices.size(); ++choice) {
    Sequence& sequence = request.choices[choice];
    if (!sequence.live()) continue;
    sequence.pages = request.choices[0].pages.Fork(pool_);
    sequence.num_computed = request.choices[0].num_computed;
  }
  // Choice 0 computed the prompt for all, even if its own end came first.
  if (!request.choices[0].live()) request.choices[0].pages.Clear(pool_);
}

void Scheduler::FinishChoice(RequestState& request, int32_t choice, FinishReason reason) {
  Sequence& sequence = request.choices[static_cast<size_t>(choice)];
  CHECK(sequence.live() && reason != FinishReason::kNone) << request.id << '/' << choice;
  sequence.finish = reason;
  sequence.output_ids.shrink_to_fit();
  const bool others_need_prompt =
      request.phase == Phase::kPrefill && choice == 0 && request.num_live() > 0;
  if (!others_need_prompt) sequence.pages.Clear(pool_);
  if (request.num_live() == 0) request.choices[0].pages.Clear(pool_);
  if (request.phase != Phase::kWaiting) {
    --running_choices_;
    ShrinkPromise(request);
  }
}

void Scheduler::Remove(RequestState& request) {
  CHECK(request.num_live() == 0 && request.reserved_pages == 0) << request.id;
  if (request.phase == Phase::kWaiting) {
    const bool was_oldest = by_arrival_.begin()->first == request.id;
    if (was_oldest) overtakes_of_oldest_ = 0;
    by_priority_.erase({-int64_t{request.request.priority}, request.id});
    by_arrival_.erase(request.id);
    return;
  }
  running_.erase(std::find(running_.begin(), running_.end(), &request));
}

Status Scheduler::CheckIntegrity() const {
  if (Status status = pool_.CheckIntegrity(); !status.ok()) return status;
  std::vector<int32_t> holders(static_cast<size_t>(pool_.num_pages()), 0);
  int32_t reserved = 0;
  int32_t choices = 0;
  for (const RequestState* request : running_) {
    reserved += request->reserved_pages;
    choices += request->num_live();
    if (request->phase == Phase::kWaiting || request->num_live() == 0) {
      return Internal(fmt::format("scheduler: request {} runs without cause", request->id));
    }
    if (request->reserved_pages != RemainingNeed(*request)) {
      return Internal(fmt::format("scheduler: request {} has a promise of {} pages, may need {}",
                                  request->id, request->reserved_pages, RemainingNeed(*request)));
    }
    for (size_t c = 0; c < request->choices.size(); ++c) {
      const Sequence& choice = request->choices[c];
      const bool computes_prompt = request->phase == Phase::kPrefill && c == 0;
      if (!choice.live() && !computes_prompt && choice.pages.num_pages() > 0) {
        return Internal(fmt::format("scheduler: request {} choice {} has ended and holds {} pages",
                                    request->id, c, choice.pages.num_pages()));
      }
      if (choice.num_computed > choice.pages.num_pages() * options_.runner.page_size &&
          (choice.live() || computes_prompt)) {
        return Internal(fmt::format("scheduler: request {} choice {} has {} positions in {} pages",
                                    request->id, c, choice.num_computed, choice.pages.num_pages()));
      }
      for (int32_t page : choice.pages.pages()) ++holders[static_cast<size_t>(page)];
    }
  }
  for (size_t page = 0; page < holders.size(); ++page) {
    if (holders[page] != pool_.refcount(static_cast<int32_t>(page))) {
      return Internal(fmt::format("scheduler: page {} has refcount {} and {} holders", page,
                                  pool_.refcount(static_cast<int32_t>(page)), holders[page]));
    }
  }
  if (reserved != pool_.num_reserved()) {
    return Internal(fmt::format("scheduler: requests have a promise of {} pages, the pool of {}",
                                reserved, pool_.num_reserved()));
  }
  if (choices != running_choices_ || choices > options_.max_choices) {
    return Internal(fmt::format("scheduler: {} choices run, {} counted, {} allowed", choices,
                                running_choices_, options_.max_choices));
  }
  for (const auto& [id, request] : by_arrival_) {
    if (request->phase != Phase::kWaiting || request->reserved_pages != 0 ||
        request->num_live() == 0) {
      return Internal(fmt::format("scheduler: request {} waits and is not waiting", id));
    }
    for (const Sequence& choice : request->choices) {
      if (choice.pages.num_pages() > 0) {
        return Internal(fmt::format("scheduler: request {} waits and holds pages", id));
      }
    }
  }
  if (by_priority_.size() != by_arrival_.size()) {
    return Internal("scheduler: the two orders of the queue differ");
  }
  return OkStatus();
}

}  // namespace rill::engine
