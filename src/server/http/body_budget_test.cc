#include "server/http/body_budget.h"

#include <gtest/gtest.h>

namespace rill::server {
namespace {

constexpr size_t kMiB = 1u << 20;

// How many bodies of that size the tenant can hold beside what is held.
int Fill(BodyBudget& budget, const std::string& tenant, size_t size) {
  int count = 0;
  while (budget.Reserve(tenant, 0, size)) ++count;
  return count;
}

TEST(BodyBudget, OneTenantGetsItsShare_OthersAShareOfTheRest) {
  BodyBudget budget(64 * kMiB, kMiB, 0.5);
  // 56 MiB for what exceeds 64 KiB a body.
  const int alice = Fill(budget, "alice", kMiB);
  EXPECT_EQ(alice, 29);
  const int bob = Fill(budget, "bob", kMiB);
  EXPECT_EQ(bob, 15);
  EXPECT_GT(Fill(budget, "carol", kMiB), 5);
  EXPECT_GT(Fill(budget, "dave", BodyBudget::kSmallBytes), 5);
}

TEST(BodyBudget, LargeBodies_LeavePlaceForSmallOnes) {
  BodyBudget budget(8 * kMiB, 2 * kMiB, 0.5);
  EXPECT_GT(Fill(budget, "", 2 * kMiB), 2) << "without keys there are no shares";
  EXPECT_FALSE(budget.Reserve("bob", 0, 2 * kMiB));
  EXPECT_TRUE(budget.Reserve("bob", 0, 45));
  EXPECT_TRUE(budget.Reserve("", 0, BodyBudget::kSmallBytes));
}

TEST(BodyBudget, SmallBodiesOfOneTenant_LeavePlaceForOthers) {
  BodyBudget budget(8 * kMiB, 2 * kMiB, 0.5);
  EXPECT_EQ(Fill(budget, "alice", BodyBudget::kSmallBytes), 8);
  EXPECT_TRUE(budget.Reserve("bob", 0, BodyBudget::kSmallBytes));
  EXPECT_TRUE(budget.Reserve("bob", BodyBudget::kSmallBytes, kMiB));
}

TEST(BodyBudget, OneBody_IsNotRefusedForTheShare) {
  BodyBudget budget(40 * kMiB, 32 * kMiB, 0.5);
  size_t held = 0;
  while (held < 32 * kMiB) {
    ASSERT_TRUE(budget.Reserve("alice", held, 16 << 10)) << held;
    held += 16 << 10;
  }
  EXPECT_FALSE(budget.Reserve("alice", 0, kMiB));
  EXPECT_EQ(budget.used_bytes(), held) << "what was refused is not kept";
  budget.Release("alice", held);
  EXPECT_EQ(budget.used_bytes(), 0u);
}

}  // namespace
}  // namespace rill::server
