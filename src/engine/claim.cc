#include "engine/claim.h"

#include <algorithm>

namespace rill::engine {

int32_t BankPages(std::vector<Claim> claims) {
  std::sort(claims.begin(), claims.end(),
            [](const Claim& a, const Claim& b) { return a.need < b.need; });
  int64_t bank = 0;
  int64_t returned = 0;
  for (const Claim& claim : claims) {
    bank = std::max(bank, claim.need - returned);
    returned += claim.own;
  }
  return static_cast<int32_t>(bank);
}

}  // namespace rill::engine
