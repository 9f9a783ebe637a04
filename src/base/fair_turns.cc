#include "base/fair_turns.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace rill {

double FairTurns::LeastGiven() const {
  double least = -1;
  for (const auto& [name, tenant] : tenants_) {
    if (!tenant.waiting.empty() && (least < 0 || tenant.given < least)) least = tenant.given;
  }
  return least < 0 ? floor_ : least;
}

void FairTurns::Push(const std::string& tenant, Turn turn) {
  const double level = LeastGiven();
  if (tenants_.size() > kMaxIdleTenants) {
    // What is level with the others or behind them starts there again anyway.
    std::erase_if(tenants_, [&](const auto& entry) {
      return entry.second.waiting.empty() && entry.second.given <= level;
    });
  }
  Tenant& entry = tenants_[tenant];
  if (entry.waiting.empty()) entry.given = std::max(entry.given, level);
  CHECK(entry.waiting.insert(turn).second) << turn.number;
  ++size_;
}

uint64_t FairTurns::Next() const {
  CHECK(size_ > 0);
  std::pair<double, uint64_t> best;
  bool found = false;
  for (const auto& [name, tenant] : tenants_) {
    if (tenant.waiting.empty()) continue;
    const std::pair<double, uint64_t> key{tenant.given, tenant.waiting.begin()->number};
    if (!found || key < best) best = key;
    found = true;
  }
  return best.second;
}

void FairTurns::Remove(const std::string& tenant, Turn turn) {
  CHECK(tenants_.at(tenant).waiting.erase(turn) == 1) << turn.number;
  --size_;
}

void FairTurns::Serve(const std::string& tenant, Turn turn) {
  Remove(tenant, turn);
  floor_ = std::max(floor_, tenants_.at(tenant).given);
}

void FairTurns::Charge(const std::string& tenant, double cost) {
  const auto found = tenants_.find(tenant);
  if (found != tenants_.end()) found->second.given += cost;
}

double FairTurns::GivenTo(const std::string& tenant) const {
  const auto found = tenants_.find(tenant);
  return found == tenants_.end() ? 0 : found->second.given;
}

const std::set<FairTurns::Turn>& FairTurns::WaitingOf(const std::string& tenant) const {
  static const std::set<Turn> kNone;
  const auto found = tenants_.find(tenant);
  return found == tenants_.end() ? kNone : found->second.waiting;
}

}  // namespace rill
