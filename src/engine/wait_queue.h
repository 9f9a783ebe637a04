// WaitQueue: the requests that wait, and whose turn it is.
//
// The rule:
//   1. the oldest request, once it was overtaken max_overtakes times;
//   2. else, of the tenant that was served least:
//   3. the highest priority, and of that: first come, first served.
// So priorities order what one tenant wants, and take nothing from another. 2 and 3 are FairTurns
// (base/fair_turns.h), where service is counted in tokens, divided by the request's weight: prompt
// tokens that are computed, when the request is admitted, and each token that is generated.
//
// Owner thread: the engine's.
// Not responsible for: whether the next one fits.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/fair_turns.h"
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
  double ServiceOf(const std::string& tenant) const { return turns_.GivenTo(tenant); }
  size_t num_tenants() const { return turns_.num_tenants(); }
  Status CheckIntegrity() const;

 private:
  static FairTurns::Turn TurnOf(const RequestState& request) {
    return {-int64_t{request.request.priority}, request.id};
  }

  const int32_t max_overtakes_;
  std::map<RequestId, RequestState*> by_arrival_;
  FairTurns turns_;
  int32_t overtakes_of_oldest_ = 0;
};

}  // namespace rill::engine
