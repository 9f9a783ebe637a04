// FairTurns: whose turn it is, of tenants that share something by what each was given so far.
//
// The rule: of the tenants that wait the one that was given least has the next turn (of equals the
// one whose turn came first); it spends it on its waiting thing of the lowest rank, and of that the
// one that came first. What a thing cost is told by Charge when it is known, in any unit, divided
// by the tenant's weight by who calls. A tenant that comes back starts level with the one that was
// given least of those that wait: idle time is no credit. (The virtual token counter of
// arXiv:2401.00588: deficit round robin with a quantum of one.)
//
// Things are numbers here: who calls knows what they stand for.
//
// Not thread-safe. Memory: what waits, and at most 1,024 tenants beside those that wait or are
// ahead of the others.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>

namespace rill {

class FairTurns {
 public:
  struct Turn {
    int64_t rank = 0;     // lower first, among one tenant's own
    uint64_t number = 0;  // grows with arrival; never used twice
    auto operator<=>(const Turn&) const = default;
  };

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  void Push(const std::string& tenant, Turn turn);
  // The number of the one whose turn it is; not when empty(). Changes nothing.
  uint64_t Next() const;
  // Takes a waiting one out: because it got its turn, or without.
  void Serve(const std::string& tenant, Turn turn);
  void Remove(const std::string& tenant, Turn turn);
  // Adds to what the tenant was given. One that was forgotten meanwhile comes back level.
  void Charge(const std::string& tenant, double cost);

  double GivenTo(const std::string& tenant) const;  // 0 for one that is not remembered
  const std::set<Turn>& WaitingOf(const std::string& tenant) const;  // in the tenant's own order
  size_t num_tenants() const { return tenants_.size(); }

 private:
  static constexpr size_t kMaxIdleTenants = 1024;
  struct Tenant {
    double given = 0;
    std::set<Turn> waiting;
  };

  // What the tenant that was given least has, of those that wait; `floor_` when none does.
  double LeastGiven() const;

  std::map<std::string, Tenant> tenants_;
  size_t size_ = 0;
  double floor_ = 0;  // of the last tenant whose turn it was
};

}  // namespace rill
