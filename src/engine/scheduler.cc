// Planning steps and following them. Who gets in: scheduler_admission.cc.
#include "engine/scheduler.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace rill::engine {
namespace {

// A step with decodes computes at least this much of a prompt, whatever it costs: prompts must end.
constexpr int32_t kMinChunk = 16;
// Beyond this, chunks at most double: the first long prompt is not to rely on a guess.
constexpr int32_t kFirstChunk = 64;
// A target that decodes alone miss cannot be kept. The step may then take so much longer than they
// do: at 16 tokens a step a long prompt would crawl, for next to nothing.
constexpr double kLeastShare = 1.25;
// Of the target, what a step may take; the rest is for its tokens' way to the client. Without it,
// 99th percentiles were 2 to 6 ms beyond targets of 50 and 100.
constexpr double kStepShare = 0.9;

double ReadsOf(int64_t begin, int64_t num_tokens) {
  return static_cast<double>(num_tokens) * static_cast<double>(begin) +
         static_cast<double>(num_tokens) * static_cast<double>(num_tokens + 1) / 2;
}

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options)
    : options_(options),
      pool_(options.runner.num_pages),
      queue_(options.max_overtakes),
      forecast_time_(StepTime::Guess(options.step_hint)) {
  // So every decode has its row in every step. A prefilling request counts with all its choices, so
  // that at least one row is left for it.
  CHECK(options_.max_choices >= 1 && options_.max_choices <= options_.runner.max_step_tokens &&
        options_.max_choices <= options_.runner.max_step_rows)
      << options_.max_choices;
  if (options_.runner.scrubs) pool_.TrackUnheld();
}

int64_t Scheduler::PagesOfRequest(const GenerateRequest& request) const {
  const int64_t prompt = static_cast<int64_t>(request.prompt_ids.size());
  const int64_t shared = prompt / options_.runner.page_size;
  const int64_t total =
      kv::PagesFor(prompt + request.sampling.max_tokens, options_.runner.page_size);
  const int64_t writers = request.sampling.max_tokens == 0 ? 1 : request.n;
  return shared + writers * (total - shared);
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
  CHECK(request.phase == Phase::kWaiting && !queue_.contains(request.id)) << request.id;
  queue_.Push(request);
}

int32_t Scheduler::ChunkOf(const RequestState& request, const StepPlan& plan, const Room& room,
                           int32_t rows_for_others) const {
  const int32_t begin = request.choices[0].num_computed;
  const int32_t remaining = request.prompt_size() - begin;
  int32_t chunk = std::min(room.tokens, remaining);
  const int32_t rows = room.rows - rows_for_others;
  if (request.scores_prompt()) {
    chunk = std::min(chunk, rows);  // a row for each position
  } else if (chunk == remaining && rows < 1) {
    --chunk;
  }
  if (options_.itl_target_ms <= 0 || plan.num_decodes == 0) return chunk;
  if (chunk <= kMinChunk && !room.has_prefill) return chunk;
  // Of the step's prompt tokens, not of one prompt's: many short ones are a long chunk too.
  const double known = std::max(double{kFirstChunk}, 2 * step_time_.largest_prefill());
  chunk = std::min(chunk, static_cast<int32_t>(known - plan.size.prefill_tokens));
  if (!step_time_.has_observed()) return room.has_prefill ? 0 : chunk;
  const auto fits = [&](int32_t tokens) {
    StepSize size = plan.size;
    size.prefill_tokens += tokens;
    size.kv_reads += ReadsOf(begin, tokens);
    return step_time_.Bound(size) <= room.limit_ms;
  };
  // The first prompt always gets on; a second one only in what is left.
  int32_t low = room.has_prefill ? 0 : kMinChunk;
  if (fits(chunk)) return chunk;
  int32_t high = chunk;  // does not fit
  while (high - low > 1) {
    const int32_t middle = low + (high - low) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return low;
}

void Scheduler::PlanSequence(RequestState& request, int32_t choice, int32_t num_tokens,
                             int32_t pages, StepPlan& plan) {
  Sequence& sequence = request.choices[static_cast<size_t>(choice)];
  const int32_t begin = sequence.num_computed;
  const int32_t end = begin + num_tokens;
  const int32_t prompt = request.prompt_size();
  CHECK(pool_.Reserve(pages)) << "request " << request.id << ": " << pages << " granted pages";
  const int32_t taken =
      sequence.pages.PrepareWrite(pool_, options_.runner.page_size, begin, end, plan.copies);
  CHECK(taken == pages) << "request " << request.id << " took " << taken << " pages, not " << pages;
  for (int32_t position = begin; position < end; ++position) {
    plan.token_ids.push_back(position < prompt
                                 ? request.request.prompt_ids[static_cast<size_t>(position)]
                                 : sequence.output_ids[static_cast<size_t>(position - prompt)]);
    plan.positions.push_back(position);
  }
  PlannedSequence planned;
  planned.request_id = request.id;
  planned.choice = choice;
  if (request.scores_prompt() && begin < prompt) {
    // The last prompt position predicts the first output token: not a row of the prompt's.
    planned.num_prompt_rows = std::min(end, prompt - 1) - begin;
    if (planned.num_prompt_rows > 0) planned.first_prompt_row = plan.num_rows();
    for (int32_t i = 0; i < planned.num_prompt_rows; ++i) {
      plan.logit_rows.push_back(plan.num_tokens() - num_tokens + i);
    }
  }
  if (end == prompt + static_cast<int32_t>(sequence.output_ids.size())) {
    planned.logit_row = plan.num_rows();
    plan.logit_rows.push_back(plan.num_tokens() - 1);
  }
  plan.sequences.push_back(planned);
  planned_.push_back(&sequence);
  plan.q_offsets.push_back(plan.num_tokens());
  plan.kv_lens.push_back(end);
  plan.max_pages = std::max(plan.max_pages, sequence.pages.num_pages());
  plan.size.kv_reads += ReadsOf(begin, num_tokens);
  (begin < prompt ? plan.size.prefill_tokens : plan.size.decodes) += num_tokens;
}

bool Scheduler::PlanPrefill(size_t running_index, StepPlan& plan, Room& room,
                            int32_t rows_for_others) {
  RequestState& request = *running_[running_index];
  const Sequence& sequence = request.choices[0];
  const int32_t chunk = ChunkOf(request, plan, room, rows_for_others);
  if (chunk <= 0) return false;
  const int32_t pages =
      sequence.pages.PagesToWrite(pool_, options_.runner.page_size, sequence.num_computed,
                                  int64_t{sequence.num_computed} + chunk);
  if (!Grant(running_index, pages)) {
    ++paused_choices_;
    return false;
  }
  const int32_t rows_before = plan.num_rows();
  PlanSequence(request, 0, chunk, pages, plan);
  room.tokens -= chunk;
  room.rows -= plan.num_rows() - rows_before;
  room.has_prefill = true;
  return true;
}

void Scheduler::Plan(StepPlan& plan, std::vector<RequestState*>& newly_admitted) {
  plan = {};
  plan.step = ++step_;
  plan.q_offsets.push_back(0);
  planned_.clear();
  newly_admitted.clear();
  paused_choices_ = 0;
  BeginClaims();
  Room room{options_.runner.max_step_tokens, options_.runner.max_step_rows, false, 0};
  int32_t prefills = 0;
  for (size_t i = 0; i < running_.size(); ++i) {
    RequestState& request = *running_[i];
    if (request.phase != Phase::kDecode) {
      ++prefills;
      continue;
    }
    for (int32_t choice = 0; choice < request.request.n; ++choice) {
      const Sequence& sequence = request.choices[static_cast<size_t>(choice)];
      if (!sequence.live()) continue;
      const int32_t pages =
          sequence.pages.PagesToWrite(pool_, options_.runner.page_size, sequence.num_computed,
                                      int64_t{sequence.num_computed} + 1);
      if (!Grant(i, pages)) {
        ++paused_choices_;
        continue;
      }
      PlanSequence(request, choice, 1, pages, plan);
      --room.tokens;
      --room.rows;
    }
  }
  plan.num_decodes = plan.num_seqs();
  const double decodes_ms = step_time_.Bound(plan.size);
  room.limit_ms = kStepShare * options_.itl_target_ms;
  if (decodes_ms > room.limit_ms) room.limit_ms = kLeastShare * decodes_ms;
  for (size_t i = 0; i < running_.size() && prefills > 0; ++i) {
    if (running_[i]->phase != Phase::kPrefill) continue;
    --prefills;
    if (room.tokens > 0) PlanPrefill(i, plan, room, prefills);
  }
  while (TryAdmit(plan, room, newly_admitted)) {
  }
  counters_.paused_steps += paused_choices_;
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
  if (!options_.prefix_cache) return;
  const int32_t page_size = options_.runner.page_size;
  const int32_t prompt = request.prompt_size();
  while ((sequence.num_named + 1) * page_size <= sequence.num_computed) {
    const int32_t begin = sequence.num_named * page_size;
    std::vector<int32_t> token_ids(static_cast<size_t>(page_size));
    for (int32_t i = 0; i < page_size; ++i) {
      const int32_t position = begin + i;
      token_ids[static_cast<size_t>(i)] =
          position < prompt ? request.request.prompt_ids[static_cast<size_t>(position)]
                            : sequence.output_ids[static_cast<size_t>(position - prompt)];
    }
    const size_t index = static_cast<size_t>(sequence.num_named);
    sequence.chain = index < request.prompt_keys.size() ? request.prompt_keys[index]
                                                        : hasher_.Next(sequence.chain, token_ids);
    pool_.Publish(sequence.pages.pages()[index], sequence.chain, token_ids, request.request.tenant);
    ++sequence.num_named;
  }
}

void Scheduler::ForkChoices(RequestState& request) {
  const Sequence& first = request.choices[0];
  CHECK(request.phase == Phase::kPrefill && first.num_computed == request.prompt_size())
      << request.id;
  request.phase = Phase::kDecode;
  for (size_t choice = 1; choice < request.choices.size(); ++choice) {
    Sequence& sequence = request.choices[choice];
    if (!sequence.live()) continue;
    sequence.pages = first.pages.Fork(pool_);
    sequence.num_computed = first.num_computed;
    sequence.num_named = first.num_named;
    sequence.chain = first.chain;
  }
  // Choice 0 computed the prompt for all, even if its own end came first.
  if (!first.live()) request.choices[0].pages.Clear(pool_);
}

void Scheduler::Distrust(const RequestState& request) {
  for (const Sequence& sequence : request.choices) {
    for (int32_t page : sequence.pages.pages()) pool_.Withdraw(page);
  }
}

void Scheduler::FinishChoice(RequestState& request, int32_t choice, FinishReason reason,
                             bool by_itself) {
  Sequence& sequence = request.choices[static_cast<size_t>(choice)];
  CHECK(sequence.live() && reason != FinishReason::kNone) << request.id << '/' << choice;
  sequence.finish = reason;
  sequence.output_ids.shrink_to_fit();
  const bool others_need_prompt =
      request.phase == Phase::kPrefill && choice == 0 && request.num_live() > 0;
  if (!others_need_prompt) sequence.pages.Clear(pool_);
  if (request.num_live() == 0) request.choices[0].pages.Clear(pool_);
  if (request.phase != Phase::kWaiting) --running_choices_;
  if (options_.predictor && !sequence.output_ids.empty() && reason != FinishReason::kError) {
    const GenerateRequest& asked = request.request;
    options_.predictor->Observe(
        {asked.tenant, asked.length_class, asked.prompt_ids, asked.sampling.max_tokens,
         static_cast<int32_t>(sequence.output_ids.size())},
        /*cut_off=*/!by_itself);
  }
}

void Scheduler::Remove(RequestState& request) {
  CHECK(request.num_live() == 0) << request.id;
  if (request.phase == Phase::kWaiting) {
    queue_.Remove(request);
    return;
  }
  running_.erase(std::find(running_.begin(), running_.end(), &request));
}

}  // namespace rill::engine
