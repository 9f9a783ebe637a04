#include "engine/wait_queue.h"

#include <fmt/format.h>

#include <map>
#include <new>
#include <set>
#include <string_view>

#include "base/check.h"

namespace rill::engine {

void WaitQueue::Push(RequestState& request) {
  CHECK(by_arrival_.empty() || by_arrival_.rbegin()->first != request.id) << request.id;
  const auto [place, is_new] = by_arrival_.emplace(request.id, &request);
  CHECK(is_new) << request.id;
  try {
    turns_.Push(request.request.tenant, TurnOf(request));
  } catch (const std::bad_alloc&) {
    by_arrival_.erase(place);
    throw;
  }
}

RequestState* WaitQueue::Next() const {
  if (by_arrival_.empty()) return nullptr;
  if (overtakes_of_oldest_ >= max_overtakes_) return by_arrival_.begin()->second;
  return by_arrival_.at(turns_.Next());
}

void WaitQueue::Admit(RequestState& request) {
  const bool is_oldest = by_arrival_.begin()->first == request.id;
  overtakes_of_oldest_ = is_oldest ? 0 : overtakes_of_oldest_ + 1;
  turns_.Serve(request.request.tenant, TurnOf(request));
  by_arrival_.erase(request.id);
}

void WaitQueue::Remove(RequestState& request) {
  if (by_arrival_.begin()->first == request.id) overtakes_of_oldest_ = 0;
  turns_.Remove(request.request.tenant, TurnOf(request));
  by_arrival_.erase(request.id);
}

void WaitQueue::Charge(const GenerateRequest& request, int64_t tokens) {
  turns_.Charge(request.tenant, static_cast<double>(tokens) / request.weight);
}

std::vector<const RequestState*> WaitQueue::InOrder() const {
  std::vector<const RequestState*> order;
  order.reserve(by_arrival_.size());
  // Turns of equal tenants alternate; by arrival is what that comes to on average. In its own turns
  // a tenant has its most urgent ones first.
  std::map<std::string_view, std::set<FairTurns::Turn>::const_iterator> next;
  for (const auto& [id, request] : by_arrival_) {
    const std::string& tenant = request->request.tenant;
    const auto place = next.try_emplace(tenant, turns_.WaitingOf(tenant).begin()).first;
    order.push_back(by_arrival_.at((place->second++)->number));
  }
  return order;
}

Status WaitQueue::CheckIntegrity() const {
  for (const auto& [id, request] : by_arrival_) {
    if (!turns_.WaitingOf(request->request.tenant).contains(TurnOf(*request))) {
      return Internal(fmt::format("wait queue: request {} waits at the wrong place", id));
    }
  }
  if (turns_.size() != by_arrival_.size()) {
    return Internal(fmt::format("wait queue: {} requests by tenant, {} by arrival", turns_.size(),
                                by_arrival_.size()));
  }
  return OkStatus();
}

}  // namespace rill::engine
