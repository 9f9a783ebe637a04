// Scheduler::CheckIntegrity: the numbered invariants of scheduler.h.
#include <fmt/format.h>

#include "engine/scheduler.h"

namespace rill::engine {

Status Scheduler::CheckRunning(std::vector<int32_t>& holders) const {
  int32_t choices = 0;
  for (const RequestState* request : running_) {
    choices += request->num_live();
    if (request->phase == Phase::kWaiting || request->num_live() == 0) {
      return Internal(fmt::format("scheduler: request {} runs without cause", request->id));
    }
    if (RemainingNeed(*request) < 0) {
      return Internal(fmt::format("scheduler: request {} holds {} pages more than it can need",
                                  request->id, -RemainingNeed(*request)));
    }
    for (size_t c = 0; c < request->choices.size(); ++c) {
      const Sequence& choice = request->choices[c];
      const bool computes_prompt = request->phase == Phase::kPrefill && c == 0;
      const int32_t pages = choice.pages.num_pages();
      if (!choice.live() && !computes_prompt && pages > 0) {
        return Internal(fmt::format("scheduler: request {} choice {} has ended and holds {} pages",
                                    request->id, c, pages));
      }
      if ((choice.live() || computes_prompt) &&
          (choice.num_computed > pages * options_.runner.page_size ||
           choice.num_named > choice.num_computed / options_.runner.page_size)) {
        return Internal(fmt::format(
            "scheduler: request {} choice {} has {} positions in {} pages, {} of them named",
            request->id, c, choice.num_computed, pages, choice.num_named));
      }
      for (int32_t page : choice.pages.pages()) ++holders[static_cast<size_t>(page)];
    }
  }
  if (choices != running_choices_ || choices > options_.max_choices) {
    return Internal(fmt::format("scheduler: {} choices run, {} counted, {} allowed", choices,
                                running_choices_, options_.max_choices));
  }
  return OkStatus();
}

Status Scheduler::CheckIntegrity() const {
  if (Status status = pool_.CheckIntegrity(); !status.ok()) return status;
  if (Status status = queue_.CheckIntegrity(); !status.ok()) return status;
  std::vector<int32_t> holders(static_cast<size_t>(pool_.num_pages()), 0);
  if (Status status = CheckRunning(holders); !status.ok()) return status;
  for (size_t page = 0; page < holders.size(); ++page) {
    if (holders[page] != pool_.refcount(static_cast<int32_t>(page))) {
      return Internal(fmt::format("scheduler: page {} has refcount {} and {} holders", page,
                                  pool_.refcount(static_cast<int32_t>(page)), holders[page]));
    }
  }
  if (pool_.num_reserved() != 0) {
    return Internal(
        fmt::format("scheduler: {} pages are promised to nobody", pool_.num_reserved()));
  }
  if (const int32_t bank = BankNow(); pool_.num_available() < bank) {
    return Internal(
        fmt::format("scheduler: {} pages must stay untaken, {} are", bank, pool_.num_available()));
  }
  for (const auto& [id, request] : queue_.by_arrival()) {
    if (request->phase != Phase::kWaiting || request->num_live() == 0) {
      return Internal(fmt::format("scheduler: request {} waits and is not waiting", id));
    }
    for (const Sequence& choice : request->choices) {
      if (choice.pages.num_pages() > 0) {
        return Internal(fmt::format("scheduler: request {} waits and holds pages", id));
      }
    }
  }
  return OkStatus();
}

}  // namespace rill::engine
