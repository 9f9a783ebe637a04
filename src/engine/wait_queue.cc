#include "engine/wait_queue.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "base/check.h"

namespace rill::engine {
namespace {

// Tenants without a request that are remembered; more only while they are ahead of the others.
constexpr size_t kMaxIdleTenants = 1024;

}  // namespace

double WaitQueue::LeastService() const {
  double least = -1;
  for (const auto& [name, tenant] : tenants_) {
    if (tenant.waiting.empty()) continue;
    if (least < 0 || tenant.service < least) least = tenant.service;
  }
  return least < 0 ? floor_ : least;
}

void WaitQueue::Push(RequestState& request) {
  CHECK(by_arrival_.empty() || by_arrival_.rbegin()->first != request.id) << request.id;
  const double level = LeastService();
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
  std::pair<double, RequestId> best;
  bool found = false;
  for (const auto& [name, tenant] : tenants_) {
    if (tenant.waiting.empty()) continue;
    const std::pair<double, RequestId> key{tenant.service, tenant.waiting.begin()->second};
    if (!found || key < best) best = key;
    found = true;
  }
  return by_arrival_.at(best.second);
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

void WaitQueue::Charge(const GenerateRequest& request, int64_t tokens) {
  const auto found = tenants_.find(request.tenant);
  // Forgotten while it ran: it comes back level with the others.
  if (found == tenants_.end()) return;
  found->second.service += static_cast<double>(tokens) / request.weight;
}

std::vector<const RequestState*> WaitQueue::InOrder() const {
  std::vector<const RequestState*> order;
  order.reserve(by_arrival_.size());
  // Turns of equal tenants alternate; by arrival is what that comes to on average. In its own turns
  // a tenant has its most urgent ones first.
  std::map<std::string_view, std::set<std::pair<int64_t, RequestId>>::const_iterator> next;
  for (const auto& [name, tenant] : tenants_) next.emplace(name, tenant.waiting.begin());
  for (const auto& [id, request] : by_arrival_) {
    order.push_back(by_arrival_.at((next.at(request->request.tenant)++)->second));
  }
  return order;
}

double WaitQueue::ServiceOf(const std::string& tenant) const {
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
