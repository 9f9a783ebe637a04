// WaitQueue: the requests that wait, and whose turn it is.
//
// The rule:
//   1. the oldest request, once it was overtaken max_overtakes times;
//   2. else, of the tenant that was served least:
//   3. the highest priority, and of that: first come, first served.
// So priorities order what one tenant wants, and take nothing from another. Service is counted in
// tokens, divided by the request's weight: prompt tokens that are computed, when the request is
// admitted, and each token that is generated. A tenant that comes back starts level with the least
// served of those that wait, so that idle time is no credit (the virtual token counter of
// arXiv:2401.00588: deficit round robin on tokens with a quantum of one).
//
// Owner thread: the engine's.
// Not responsible for: whether the next one fits.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/sequence.h"
#include "rill/status.h"

namespace rill::engine {

class WaitQueue {
 public:
  explicit WaitQueue(int32_t max_overtakes) : max_overtakes_(max_overtakes) {}

  int32_t size() const { return static_cast<int32_t>(by_arrival_.size()); }
  bool contains(RequestId id) const { return by_arrival_.contains(id); }
  // Ids grow with arrival.
  void Push(RequestState& request);
  // Whose turn it is; null when nobody waits. Changes nothing.
  RequestState* Next() const;
  // Takes a request out: because it was admitted, or without service.
  void Admit(RequestState& request);
  void Remove(RequestState& request);
  // Counts service of the request's tenant.
  void Charge(const GenerateRequest& request, int64_t tokens);

  // In the order of the rule as it would be without further service: for forecasts.
  std::vector<const RequestState*> InOrder() const;
  const std::map<RequestId, RequestState*>& by_arrival() const { return by_arrival_; }
  double ServiceOf(const std::string& tenant) const;
  size_t num_tenants() const { return tenants_.size(); }
  Status CheckIntegrity() const;

 private:
  struct Tenant {
    double service = 0;                               // tokens / weight
    std::set<std::pair<int64_t, RequestId>> waiting;  // (-priority, id)
  };
  void Take(RequestState& request);
  // The service of the least served tenant that waits; `floor_` when none does.
  double LeastService() const;

  const int32_t max_overtakes_;
  std::map<RequestId, RequestState*> by_arrival_;
  std::map<std::string, Tenant> tenants_;
  int32_t overtakes_of_oldest_ = 0;
  double floor_ = 0;  // service of the last tenant whose turn it was
};

}  // namespace rill::engine
