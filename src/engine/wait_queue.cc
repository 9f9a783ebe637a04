#include "engine/wait_queue.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "base/check.h"

namespace rill::engine {
namespace {

// Tenants without a request that are remembered; more only while they are ahead of the others.
constexpr size_t kMaxIdleTenants = 1024;

}  // namespace

int64_t WaitQueue::LeastService() const {
  int64_t least = -1;
  for (const auto& [name, tenant] : tenants_) {
    if (tenant.waiting.empty()) continue;
    if (least < 0 || tenant.service < least) least = tenant.service;
  }
  return least < 0 ? floor_ : least;
}

void WaitQueue::Push(RequestState& request) {
  CHECK(by_arrival_.empty() || by_arrival_.rbegin()->first != request.id) << request.id;
  const int64_t level = LeastService();
  if (tenants_.size() > kMaxIdleTenants) {
    // What is level with the others or behind them starts there again anyway.
    std::erase_if(tenants_, [&](const auto& entry) {
      return entry.second.waiting.empty() && entry.second.service <= level;
    });
  }
  Tenant& tenant = tenants_[request.request.tenant];
  if (tenant.waiting.empty()) tenant.service = std::max(tenant.service, level);
  tenant.waiting.emplace(-int64_t{request.request.priority}, request.id);
  CHECK(by_arrival_.emplace(request.id, &request).second) << request.id;
}

RequestState* WaitQueue::Next() const {
  if (by_arrival_.empty()) return nullptr;
  if (overtakes_of_oldest_ >= max_overtakes_) return by_arrival_.begin()->second;
  std::tuple<int64_t, int64_t, RequestId> best;
  bool found = false;
  for (const auto& [name, tenant] : tenants_) {
    if (tenant.waiting.empty()) continue;
    const auto [negated_priority, id] = *tenant.waiting.begin();
    const std::tuple<int64_t, int64_t, RequestId> key{negated_priority, tenant.service, id};
    if (!found || key < best) best = key;
    found = true;
  }
  return by_arrival_.at(std::get<2>(best));
}

void WaitQueue::Take(RequestState& request) {
  Tenant& tenant = tenants_.at(request.request.tenant);
  CHECK(tenant.waiting.erase({-int64_t{request.request.priority}, request.id}) == 1) << request.id;
  by_arrival_.erase(request.id);
}

void WaitQueue::Admit(RequestState& request) {
  const bool is_oldest = by_arrival_.begin()->first == request.id;
  overtakes_of_oldest_ = is_oldest ? 0 : overtakes_of_oldest_ + 1;
  Take(request);
  floor_ = std::max(floor_, tenants_.at(request.request.tenant).service);
}

void WaitQueue::Remove(RequestState& request) {
  if (by_arrival_.begin()->first == request.id) overtakes_of_oldest_ = 0;
  Take(request);
}

void WaitQueue::Charge(const std::string& tenant, int64_t tokens) {
  const auto found = tenants_.find(tenant);
  // Forgotten while it ran: it comes back level with the others.
  if (found != tenants_.end()) found->second.service += tokens;
}

std::vector<const RequestState*> WaitQueue::InOrder() const {
  std::vector<const RequestState*> order;
  order.reserve(by_arrival_.size());
  for (const auto& [id, request] : by_arrival_) order.push_back(request);
  // Turns of equal tenants alternate; by arrival is what that comes to on average.
  std::stable_sort(order.begin(), order.end(), [](const RequestState* a, const RequestState* b) {
    return a->request.priority > b->request.priority;
  });
  return order;
}

int64_t WaitQueue::ServiceOf(const std::string& tenant) const {
  const auto found = tenants_.find(tenant);
  return found == tenants_.end() ? 0 : found->second.service;
}

Status WaitQueue::CheckIntegrity() const {
  size_t waiting = 0;
  for (const auto& [name, tenant] : tenants_) {
    waiting += tenant.waiting.size();
    for (const auto& [negated_priority, id] : tenant.waiting) {
      const auto found = by_arrival_.find(id);
      if (found == by_arrival_.end() || found->second->request.tenant != name) {
        return Internal(fmt::format("wait queue: request {} waits at the wrong place", id));
      }
    }
  }
  if (waiting != by_arrival_.size()) {
    return Internal(fmt::format("wait queue: {} requests by tenant, {} by arrival", waiting,
                                by_arrival_.size()));
  }
  return OkStatus();
}

}  // namespace rill::engine
