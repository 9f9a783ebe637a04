// Who makes room for whom, with holders that only remember what they were told.
#include "server/http/connection_places.h"

#include <gtest/gtest.h>

#include <thread>

namespace rill::server {
namespace {

using Group = ConnectionPlaces::Group;

// A connection of thread 0 closes when it is asked, and of another one when the test says so.
class FakeConnection final : public ConnectionPlaces::Holder,
                             public std::enable_shared_from_this<FakeConnection> {
 public:
  FakeConnection(ConnectionPlaces& places, size_t io_thread, bool is_admin, bool authenticated)
      : places_(places), io_thread_(io_thread), is_admin_(is_admin), authenticated_(authenticated) {
    places_.Open(is_admin_);
    if (authenticated_) places_.Authenticated(is_admin_);
  }
  void MayGo(Group group) {
    entry_ = places_.Add({weak_from_this(), io_thread_, is_admin_, authenticated_}, group);
    has_entry_ = true;
  }
  bool Enter(Group group) { return places_.Enter(entry_, group); }
  bool BeginRequest() {
    if (!places_.Remove(entry_)) return false;
    has_entry_ = false;
    return true;
  }
  void Close() {
    if (closed) return;
    closed = true;
    places_.Close(is_admin_, authenticated_, has_entry_ ? &entry_ : nullptr);
  }
  bool CloseIfNothingCame() override {
    ++asked;
    EXPECT_EQ(io_thread_, 0u);
    if (busy) return false;
    Close();
    return true;
  }
  void TellCondemned() override { condemned = true; }

  bool busy = false, closed = false, condemned = false;
  int asked = 0;

 private:
  ConnectionPlaces& places_;
  const size_t io_thread_;
  const bool is_admin_, authenticated_;
  bool has_entry_ = false;
  ConnectionPlaces::Handle entry_;
};
using Fake = std::shared_ptr<FakeConnection>;

struct Places {
  explicit Places(int io_threads, int max_main = 1000, int max_strangers = 1000)
      : places(max_main, 4, max_strangers, io_threads) {}
  Fake Make(size_t io_thread, Group group = Group::kIdle, bool is_admin = false,
            bool authenticated = false) {
    auto made = std::make_shared<FakeConnection>(places, io_thread, is_admin, authenticated);
    made->MayGo(group);
    all.push_back(made);
    return made;
  }
  ~Places() {
    for (const Fake& fake : all) fake->Close();
    EXPECT_EQ(places.open(false) + places.open(true), 0u);
  }
  ConnectionPlaces places;
  std::vector<Fake> all;
};

TEST(ConnectionPlaces, TheOldestOfAllThreadsGoes) {
  Places p(3);
  std::vector<Fake> made;
  for (size_t i = 0; i < 9; ++i) made.push_back(p.Make((i * 2) % 3));
  ASSERT_TRUE(made[0]->Enter(Group::kIdle));  // now the youngest
  for (size_t i = 1; i < 9; ++i) {
    ASSERT_TRUE(p.places.Evict(false, false));
    for (size_t j = 1; j < 9; ++j) EXPECT_EQ(made[j]->closed || made[j]->condemned, j <= i) << i;
    EXPECT_EQ(made[i]->condemned, i * 2 % 3 != 0);
  }
  EXPECT_FALSE(made[0]->closed);
  EXPECT_EQ(p.places.evicted(), 8u);
}

// However many of other threads stand in front.
TEST(ConnectionPlaces, BesideTheMostCondemnedOnesThoseOfTheAcceptingThreadStillGo) {
  Places p(2);
  std::vector<Fake> others, here;
  for (int i = 0; i < 500; ++i) others.push_back(p.Make(1));
  for (int i = 0; i < 3; ++i) here.push_back(p.Make(0));
  for (uint64_t i = 0; i < ConnectionPlaces::kMostCondemned; ++i) {
    ASSERT_TRUE(p.places.Evict(false, false));
    EXPECT_TRUE(others[i]->condemned);
  }
  for (const Fake& fake : here) {
    EXPECT_TRUE(p.places.Evict(false, false));
    EXPECT_TRUE(fake->closed);
  }
  EXPECT_FALSE(p.places.Evict(false, false));
  others[0]->Close();
  EXPECT_TRUE(p.places.Evict(false, false));
  EXPECT_TRUE(others[ConnectionPlaces::kMostCondemned]->condemned);
}

TEST(ConnectionPlaces, CondemnedOnesDoNotCountAndCannotBegin) {
  Places p(2, /*max_main=*/2, /*max_strangers=*/1);
  const Fake a = p.Make(1), b = p.Make(1, Group::kIdle, false, true);
  EXPECT_TRUE(p.places.IsFull(false));
  EXPECT_TRUE(p.places.StrangersFull());
  ASSERT_TRUE(p.places.Evict(false, false));
  ASSERT_TRUE(a->condemned) << "those without a key go first";
  EXPECT_FALSE(p.places.IsFull(false));
  EXPECT_FALSE(p.places.StrangersFull());
  EXPECT_FALSE(a->BeginRequest());
  EXPECT_FALSE(a->Enter(Group::kSlow));
  EXPECT_TRUE(b->BeginRequest());
  EXPECT_FALSE(p.places.Evict(false, false)) << "one inside a request stays";
  EXPECT_EQ(p.places.open(false), 2u);
  a->Close();
  EXPECT_EQ(p.places.open(false), 1u);
  EXPECT_FALSE(p.places.IsFull(false));
}

// Evicts, not before `grace` is over.
void EvictAfter(ConnectionPlaces& places, std::chrono::milliseconds grace) {
  const auto begin = ConnectionPlaces::Clock::now();
  while (!places.Evict(false, false)) {
    ASSERT_LT(ConnectionPlaces::Clock::now() - begin, grace + std::chrono::seconds(20));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

TEST(ConnectionPlaces, OrderIsByGroupThenKeyThenAge) {
  Places p(1);
  const auto begin = ConnectionPlaces::Clock::now();
  const Fake slow = p.Make(0, Group::kSlow), silent = p.Make(0, Group::kSilent);
  const Fake member = p.Make(0, Group::kIdle, false, true), stranger = p.Make(0);
  const Fake admin = p.Make(0, Group::kIdle, true);
  EXPECT_TRUE(p.places.Evict(false, false));
  EXPECT_TRUE(stranger->closed);
  EXPECT_TRUE(p.places.Evict(false, false));
  EXPECT_TRUE(member->closed);
  EvictAfter(p.places, ConnectionPlaces::kSilentGrace);
  EXPECT_TRUE(silent->closed);
  EXPECT_GE(ConnectionPlaces::Clock::now() - begin, ConnectionPlaces::kSilentGrace);
  EvictAfter(p.places, ConnectionPlaces::kSlowGrace);
  EXPECT_TRUE(slow->closed);
  EXPECT_GE(ConnectionPlaces::Clock::now() - begin, ConnectionPlaces::kSlowGrace);
  EXPECT_FALSE(p.places.Evict(false, false));
  EXPECT_TRUE(p.places.Evict(true, false));
  EXPECT_TRUE(admin->closed);
}

TEST(ConnectionPlaces, MembersAreSparedWhereStrangersMakeRoomForStrangers) {
  Places p(1);
  const Fake member = p.Make(0, Group::kIdle, false, true);
  EXPECT_FALSE(p.places.Evict(false, /*strangers_only=*/true));
  const Fake stranger = p.Make(0);
  EXPECT_TRUE(p.places.Evict(false, /*strangers_only=*/true));
  EXPECT_TRUE(stranger->closed);
  EXPECT_FALSE(member->closed);
}

// Those to which bytes have come do not hide the others from the next newcomer of a batch.
TEST(ConnectionPlaces, ThoseSetAsideAreAskedOnceATurn) {
  Places p(1);
  std::vector<Fake> busy;
  for (int i = 0; i < 40; ++i) busy.push_back(p.Make(0));
  for (const Fake& fake : busy) fake->busy = true;
  const Fake free = p.Make(0);
  int newcomers = 1;
  while (!p.places.Evict(false, false)) ASSERT_LE(++newcomers, 3);
  EXPECT_TRUE(free->closed);
  EXPECT_FALSE(p.places.Evict(false, false));
  for (const Fake& fake : busy) EXPECT_EQ(fake->asked, 1);

  // Set aside, they go on as others do.
  EXPECT_TRUE(busy[0]->BeginRequest());
  EXPECT_TRUE(busy[1]->Enter(Group::kIdle));
  busy[1]->busy = false;
  EXPECT_TRUE(p.places.Evict(false, false));
  EXPECT_TRUE(busy[1]->closed);
  busy[2]->Close();

  // In the next turn they are asked again, behind those that were not.
  const Fake waiting = p.Make(0);
  p.places.NewTurn();
  for (const Fake& fake : busy) fake->busy = false;
  const Fake young = p.Make(0);
  ASSERT_TRUE(p.places.Evict(false, false));
  EXPECT_TRUE(waiting->closed);
  for (int i = 3; i < 40; ++i) {
    ASSERT_TRUE(p.places.Evict(false, false));
    EXPECT_TRUE(busy[static_cast<size_t>(i)]->closed) << i;
  }
  EXPECT_FALSE(young->closed);
  EXPECT_TRUE(p.places.Evict(false, false));
  EXPECT_TRUE(young->closed);
}

}  // namespace
}  // namespace rill::server
