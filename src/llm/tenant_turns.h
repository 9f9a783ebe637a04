// TenantTurns: things that wait for work, in the order in which the turns of their tenants come.
//
// Next is the tenant that was given least so far, of its things the one that came first. What it
// was given is told by Charge, in any unit (divided by the tenant's weight by who calls), when it
// is known. A tenant that comes back starts level with the least served of those that wait: idle
// time is no credit. engine/wait_queue.h is the same rule over tokens.
//
// Not thread-safe. Memory: what waits, and at most 1,024 tenants beside those that wait or are
// ahead of the others.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>

#include "base/check.h"

namespace rill::llm {

template <typename T>
class TenantTurns {
 public:
  bool empty() const { return size_ == 0; }

  void Push(const std::string& tenant, T value) {
    const double level = LeastGiven();
    if (tenants_.size() > kMaxIdleTenants) {
      std::erase_if(tenants_, [&](const auto& entry) {
        return entry.second.waiting.empty() && entry.second.given <= level;
      });
    }
    Tenant& entry = tenants_[tenant];
    if (entry.waiting.empty()) entry.given = std::max(entry.given, level);
    entry.waiting.emplace_back(next_number_++, std::move(value));
    ++size_;
  }

  // The one whose turn it is; not when empty().
  T Pop() {
    CHECK(size_ > 0);
    Tenant* next = nullptr;
    for (auto& [name, tenant] : tenants_) {
      if (tenant.waiting.empty()) continue;
      if (!next || std::pair(tenant.given, tenant.waiting.front().first) <
                       std::pair(next->given, next->waiting.front().first)) {
        next = &tenant;
      }
    }
    floor_ = std::max(floor_, next->given);
    T value = std::move(next->waiting.front().second);
    next->waiting.pop_front();
    --size_;
    return value;
  }

  void Charge(const std::string& tenant, double cost) {
    const auto found = tenants_.find(tenant);
    if (found != tenants_.end()) found->second.given += cost;
  }

 private:
  static constexpr size_t kMaxIdleTenants = 1024;
  struct Tenant {
    double given = 0;
    std::deque<std::pair<uint64_t, T>> waiting;  // by arrival
  };

  double LeastGiven() const {
    double least = -1;
    for (const auto& [name, tenant] : tenants_) {
      if (!tenant.waiting.empty() && (least < 0 || tenant.given < least)) least = tenant.given;
    }
    return least < 0 ? floor_ : least;
  }

  std::map<std::string, Tenant> tenants_;
  size_t size_ = 0;
  uint64_t next_number_ = 0;
  double floor_ = 0;  // of the last tenant whose turn it was
};

}  // namespace rill::llm
