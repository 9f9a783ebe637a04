#include "engine/claim.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

namespace rill::engine {
namespace {

// Can they finish one after another in this order?
bool Finishes(const std::vector<Claim>& claims, const std::vector<size_t>& order,
              int32_t available) {
  for (size_t i : order) {
    if (claims[i].need > available) return false;
    available += claims[i].own;
  }
  return true;
}

TEST(BankPages, IsTheLeastWithWhichSomeOrderFinishes) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::vector<Claim> claims(random() % 6);
    for (Claim& claim : claims) {
      claim = {static_cast<int32_t>(random() % 12), static_cast<int32_t>(random() % 8)};
    }
    const int32_t bank = BankPages(claims);
    for (int32_t available : {bank, bank - 1}) {
      if (available < 0) continue;
      std::vector<size_t> order(claims.size());
      std::iota(order.begin(), order.end(), 0);
      bool some = false;
      do {
        some = some || Finishes(claims, order, available);
      } while (std::next_permutation(order.begin(), order.end()));
      EXPECT_EQ(some, available == bank) << "round " << round;
    }
  }
}

}  // namespace
}  // namespace rill::engine
