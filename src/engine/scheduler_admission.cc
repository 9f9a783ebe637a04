// Who may run, and who gets pages: claims, the prefix cache, forecasts of length.
#include <algorithm>

#include "base/check.h"
#include "engine/scheduler.h"

namespace rill::engine {

int32_t Scheduler::RemainingNeed(const RequestState& request) const {
  const int32_t page_size = options_.runner.page_size;
  const int32_t total = kv::PagesFor(request.max_positions(), page_size);
  const int32_t shared = request.prompt_size() / page_size;
  if (request.phase == Phase::kWaiting) return 0;
  if (request.phase == Phase::kPrefill) {
    const int32_t live = request.num_live();
    const int32_t writers = request.request.sampling.max_tokens == 0 ? std::min(live, 1) : live;
    return shared + writers * (total - shared) - request.choices[0].pages.num_pages();
  }
  // Each live choice grows to `total`. Of those that have not written yet and so still share the
  // prompt's last, partial page, all but the last one to write copy it.
  int32_t need = 0;
  int32_t sharers = 0;
  for (const Sequence& choice : request.choices) {
    if (!choice.live()) continue;
    need += total - choice.pages.num_pages();
    if (choice.num_computed == request.prompt_size() && choice.num_computed % page_size != 0 &&
        request.request.sampling.max_tokens > 0) {
      ++sharers;
    }
  }
  return need + std::max(0, sharers - 1);
}

int32_t Scheduler::OwnPages(const RequestState& request) const {
  int32_t own = 0;
  if (request.request.n == 1 || request.phase == Phase::kPrefill) {
    for (int32_t page : request.choices[0].pages.pages()) own += pool_.refcount(page) == 1 ? 1 : 0;
    return own;
  }
  // Only pages of the prompt are shared between choices, each at the same place.
  const size_t prompt_pages =
      static_cast<size_t>(kv::PagesFor(request.prompt_size(), options_.runner.page_size));
  std::vector<int32_t> at_place;
  for (size_t i = 0; i < prompt_pages; ++i) {
    at_place.clear();
    for (const Sequence& choice : request.choices) {
      if (choice.pages.pages().size() > i) at_place.push_back(choice.pages.pages()[i]);
    }
    std::sort(at_place.begin(), at_place.end());
    for (size_t k = 0; k < at_place.size();) {
      const size_t begin = k;
      while (k < at_place.size() && at_place[k] == at_place[begin]) ++k;
      own += pool_.refcount(at_place[begin]) == static_cast<int32_t>(k - begin) ? 1 : 0;
    }
  }
  for (const Sequence& choice : request.choices) {
    const std::vector<int32_t>& pages = choice.pages.pages();
    for (size_t i = prompt_pages; i < pages.size(); ++i) {
      own += pool_.refcount(pages[i]) == 1 ? 1 : 0;
    }
  }
  return own;
}

void Scheduler::BeginClaims() {
  claims_.clear();
  total_need_ = 0;
  own_known_ = false;
  for (const RequestState* request : running_) {
    claims_.push_back({RemainingNeed(*request), 0});
    total_need_ += claims_.back().need;
  }
}

void Scheduler::FillOwn() {
  if (own_known_) return;
  for (size_t i = 0; i < running_.size(); ++i) claims_[i].own = OwnPages(*running_[i]);
  own_known_ = true;
}

bool Scheduler::Grant(size_t running_index, int32_t pages) {
  if (pages == 0) return true;
  const int32_t left = pool_.num_available() - pages;
  Claim& claim = claims_[running_index];
  CHECK(pages <= claim.need) << "request " << running_[running_index]->id << " wants " << pages
                             << " pages, may need " << claim.need;
  // When the worst case of all is covered there is nothing to weigh.
  if (total_need_ - pages > left) {
    if (left < 0) return false;
    FillOwn();
    claim.need -= pages;
    claim.own += pages;
    const bool safe = left >= BankPages(claims_);
    claim.need += pages;
    claim.own -= pages;
    if (!safe) return false;
  }
  claim.need -= pages;
  claim.own += pages;
  total_need_ -= pages;
  return true;
}

int32_t Scheduler::BankNow() const {
  std::vector<Claim> claims;
  for (const RequestState* request : running_) {
    claims.push_back({RemainingNeed(*request), OwnPages(*request)});
  }
  return BankPages(std::move(claims));
}

void Scheduler::MakePromptKeys(RequestState& request) const {
  if (!request.prompt_keys.empty()) return;
  const size_t page_size = static_cast<size_t>(options_.runner.page_size);
  const std::span<const int32_t> prompt(request.request.prompt_ids);
  kv::PrefixKey key = hasher_.Root(request.request.tenant, request.request.cache_salt);
  request.choices[0].chain = key;
  for (size_t end = page_size; end <= prompt.size(); end += page_size) {
    key = hasher_.Next(key, prompt.subspan(end - page_size, page_size));
    request.prompt_keys.push_back(key);
  }
}

std::vector<int32_t> Scheduler::FindPrefix(RequestState& request) {
  std::vector<int32_t> pages;
  if (!options_.prefix_cache) return pages;
  MakePromptKeys(request);
  if (request.scores_prompt()) return pages;  // it wants the logits of every position
  const size_t page_size = static_cast<size_t>(options_.runner.page_size);
  const std::span<const int32_t> prompt(request.request.prompt_ids);
  // The last prompt token is always computed: its logits are needed.
  const size_t most = (prompt.size() - 1) / page_size;
  while (pages.size() < most) {
    const size_t i = pages.size();
    const int32_t page =
        pool_.Find(request.prompt_keys[i], prompt.subspan(i * page_size, page_size));
    if (page < 0) break;
    pages.push_back(page);
  }
  return pages;
}

LengthForecast Scheduler::Forecast(const RequestState& request, int32_t generated) const {
  const GenerateRequest& asked = request.request;
  return Forecast(
      {asked.tenant, asked.length_class, asked.prompt_ids, asked.sampling.max_tokens, generated});
}

LengthForecast Scheduler::Forecast(const LengthQuery& query) const {
  const int32_t max_tokens = query.max_tokens, generated = query.generated;
  LengthForecast forecast{max_tokens, static_cast<double>(max_tokens)};
  if (options_.predictor && max_tokens > 0) forecast = options_.predictor->Predict(query);
  // An opinion from outside may say anything.
  forecast.reserve_tokens = std::clamp(forecast.reserve_tokens, generated, max_tokens);
  if (!(forecast.expected_tokens >= generated)) forecast.expected_tokens = generated;
  forecast.expected_tokens = std::min(forecast.expected_tokens, static_cast<double>(max_tokens));
  if (!(forecast.held_tokens >= generated)) forecast.held_tokens = forecast.expected_tokens;
  forecast.held_tokens = std::min(forecast.held_tokens, static_cast<double>(max_tokens));
  return forecast;
}

void Scheduler::RefreshForecast(RequestState& request) const {
  int32_t generated = 0;
  for (const Sequence& choice : request.choices) {
    if (!choice.live()) continue;
    generated = std::max(generated, static_cast<int32_t>(choice.output_ids.size()));
  }
  if (request.forecast_tokens <= generated) {
    request.forecast_tokens = Forecast(request, generated).reserve_tokens;
  }
}

bool Scheduler::FitsForecast() {
  // What each running request is predicted to hold t steps from now. Prompts count as computed at
  // once. The largest sum is just before somebody ends; requests that end later hold more then, but
  // those that ended are gone. (The peak of the future memory: arXiv:2507.10150.)
  struct Growth {
    int32_t steps = 0;  // until its predicted end
    int32_t now = 0;    // positions of a choice, the prompt included
    int32_t live = 0, prompt_pages = 0;
    Claim claim;
  };
  const int32_t page_size = options_.runner.page_size;
  std::vector<Growth> growths;
  growths.reserve(running_.size());
  for (size_t i = 0; i < running_.size(); ++i) {
    RequestState& request = *running_[i];
    RefreshForecast(request);
    Growth growth;
    growth.claim = claims_[i];
    growth.live = request.num_live();
    int32_t fewest = request.request.sampling.max_tokens;
    for (const Sequence& choice : request.choices) {
      if (choice.live()) fewest = std::min(fewest, static_cast<int32_t>(choice.output_ids.size()));
    }
    growth.steps = std::max(0, request.forecast_tokens - fewest);
    growth.now = request.prompt_size() + fewest;
    if (request.phase == Phase::kPrefill) {
      growth.prompt_pages =
          kv::PagesFor(request.prompt_size(), page_size) - request.choices[0].pages.num_pages();
    }
    growths.push_back(growth);
  }
  std::sort(growths.begin(), growths.end(),
            [](const Growth& a, const Growth& b) { return a.steps < b.steps; });
  const auto pages_after = [&](const Growth& growth, int32_t steps) {
    const int32_t grown =
        kv::PagesFor(int64_t{growth.now} + steps, page_size) - kv::PagesFor(growth.now, page_size);
    return std::min(growth.claim.need, growth.prompt_pages + growth.live * grown);
  };
  // 32 moments are as good as all of them.
  const size_t stride = std::max<size_t>(1, growths.size() / 32);
  int64_t returned = 0;
  for (size_t k = 0; k < growths.size(); ++k) {
    if (k % stride == 0 || k + 1 == growths.size()) {
      int64_t pages = pool_.num_used() - returned;
      // Somebody must be able to go on to its limit even then, or all of them pause.
      int32_t bank = growths[k].claim.need;
      for (size_t j = k; j < growths.size(); ++j) {
        const int32_t taken = pages_after(growths[j], growths[k].steps);
        pages += taken;
        bank = std::min(bank, growths[j].claim.need - taken);
      }
      if (pages + bank > pool_.num_pages()) return false;
    }
    returned += growths[k].claim.own;
  }
  return true;
}

// Puts the request on the running list with the pages that are there already, if that is safe and
// the forecast allows it.
bool Scheduler::TakePlace(RequestState& request) {
  std::vector<int32_t> prefix = FindPrefix(request);
  const int32_t num_found = static_cast<int32_t>(prefix.size());
  const int32_t num_cached = static_cast<int32_t>(std::count_if(
      prefix.begin(), prefix.end(), [this](int32_t page) { return pool_.refcount(page) == 0; }));
  request.phase = Phase::kPrefill;
  const int32_t need = RemainingNeed(request) - num_found;
  const bool all_covered = total_need_ + need + num_cached <= pool_.num_available();
  if (!all_covered && !options_.predict_lengths) {
    request.phase = Phase::kWaiting;
    return false;
  }
  CHECK(pool_.Reserve(num_cached));
  for (int32_t page : prefix) {
    if (pool_.refcount(page) > 0) {
      pool_.Share(page);
    } else {
      pool_.TakeCached(page);
    }
  }
  Sequence& sequence = request.choices[0];
  sequence.pages = kv::PageTable::Adopt(std::move(prefix));
  running_.push_back(&request);
  claims_.push_back({need, 0});
  total_need_ += need;
  own_known_ = false;  // sharing has changed it for others, too
  if (!all_covered) {
    FillOwn();
    const bool safe = pool_.num_available() >= BankPages(claims_);
    if (!safe || (running_.size() > 1 && !FitsForecast())) {
      running_.pop_back();
      claims_.pop_back();
      total_need_ -= need;
      own_known_ = false;
      sequence.pages.Clear(pool_);
      request.phase = Phase::kWaiting;
      return false;
    }
  }
  request.cached_tokens = num_found * options_.runner.page_size;
  sequence.num_computed = request.cached_tokens;
  sequence.num_named = num_found;
  if (num_found > 0) sequence.chain = request.prompt_keys[static_cast<size_t>(num_found - 1)];
  return true;
}

bool Scheduler::TryAdmit(StepPlan& plan, Room& room, std::vector<RequestState*>& newly_admitted) {
  RequestState* request = queue_.Next();
  // Who pauses comes first: nobody new makes that wait longer.
  if (request == nullptr || room.tokens == 0 || room.rows == 0 || paused_choices_ > 0) return false;
  // Choices that were cancelled in the queue need nothing.
  const int32_t live = request->num_live();
  if (running_choices_ + live > options_.max_choices || !TakePlace(*request)) return false;
  queue_.Admit(*request);
  const int32_t prompt = request->prompt_size();
  queue_.Charge(request->request, prompt - request->cached_tokens);
  if (options_.prefix_cache && !request->scores_prompt()) {
    counters_.prefix_queries += prompt;
    counters_.prefix_hits += request->cached_tokens;
  }
  running_choices_ += live;
  newly_admitted.push_back(request);
  // With a target for step times a prompt may have to wait for the next step.
  return PlanPrefill(running_.size() - 1, plan, room, 0);
}

}  // namespace rill::engine
