#include "base/fair_turns.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>

namespace rill {
namespace {

// Things with a cost, in the order of their turns, one letter each: the tenant's.
class Play {
 public:
  void Push(const std::string& tenant, double cost, int64_t rank = 0) {
    const FairTurns::Turn turn{rank, next_++};
    turns.Push(tenant, turn);
    things_[turn.number] = {tenant, turn, cost};
  }
  std::string Run(int count) {
    std::string order;
    for (int i = 0; i < count && !turns.empty(); ++i) {
      const Thing thing = things_.at(turns.Next());
      turns.Serve(thing.tenant, thing.turn);
      turns.Charge(thing.tenant, thing.cost);
      order += thing.tenant;
      last = thing.turn.number;
    }
    return order;
  }

  FairTurns turns;
  uint64_t last = 0;

 private:
  struct Thing {
    std::string tenant;
    FairTurns::Turn turn;
    double cost = 0;
  };
  uint64_t next_ = 1;
  std::map<uint64_t, Thing> things_;
};

TEST(FairTurns, LeastServedIsNext_AndIdleTimeIsNoCredit) {
  Play play;
  for (int i = 0; i < 6; ++i) play.Push("a", 30);
  EXPECT_EQ(play.Run(2), "aa");
  // b comes level with a, then has three turns for one of a's.
  for (int i = 0; i < 6; ++i) play.Push("b", 10);
  EXPECT_EQ(play.Run(8), "abbbabbb");
  EXPECT_EQ(play.Run(100), "aa");
  // b was idle while a worked: level again, no more.
  play.Push("a", 30);
  play.Push("b", 10);
  play.Push("b", 10);
  play.Push("a", 30);
  EXPECT_EQ(play.Run(100), "abba");
  EXPECT_TRUE(play.turns.empty());
}

TEST(FairTurns, RankOrdersOneTenantsOwn_AndNumberTheEqual) {
  Play play;
  play.Push("a", 10, 5);   // 1
  play.Push("a", 10, -5);  // 2
  play.Push("b", 10, 9);   // 3: no rank of a's takes its turn
  play.Push("a", 10, -5);  // 4
  std::string numbers;
  while (!play.turns.empty()) {
    play.Run(1);
    numbers += std::to_string(play.last);
  }
  EXPECT_EQ(numbers, "2341");
}

TEST(FairTurns, RemovedWithoutATurn_MovesNobody) {
  Play play;
  play.Push("a", 10);
  play.Run(1);
  EXPECT_EQ(play.turns.GivenTo("a"), 10);
  play.turns.Push("b", {0, 100});
  // The floor was where a stood before it was charged.
  EXPECT_EQ(play.turns.GivenTo("b"), 0);
  play.turns.Remove("b", {0, 100});
  EXPECT_TRUE(play.turns.empty());
  play.turns.Push("c", {0, 101});
  EXPECT_EQ(play.turns.GivenTo("c"), 0);
  EXPECT_EQ(play.turns.WaitingOf("c").size(), 1u);
  EXPECT_TRUE(play.turns.WaitingOf("nobody").empty());
}

TEST(FairTurns, IdleTenantsAreForgotten_UnlessTheyAreAhead) {
  Play play;
  play.turns.Push("waits", {0, 1'000'000});
  play.Push("ahead", 50);
  play.turns.Charge("ahead", 1);
  for (int i = 0; i < 5000; ++i) {
    const std::string name = "t" + std::to_string(i);
    const FairTurns::Turn turn{0, static_cast<uint64_t>(2'000'000 + i)};
    play.turns.Push(name, turn);
    play.turns.Remove(name, turn);
  }
  EXPECT_LE(play.turns.num_tenants(), 1024u + 3);
  EXPECT_EQ(play.turns.GivenTo("ahead"), 1);
}

}  // namespace
}  // namespace rill
