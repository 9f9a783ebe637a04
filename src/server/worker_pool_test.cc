#include "server/worker_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <new>
#include <string>
#include <thread>
#include <vector>

namespace rill::server {
namespace {

constexpr int64_t kLarge = WorkTurn::kSmallBytes + 1;

// Keeps a thread of the pool busy until Open().
class Gate {
 public:
  std::function<void()> Task() {
    return [this] {
      ++running_;
      opened_.wait();
    };
  }
  void WaitUntilRunning(int count) {
    while (running_ < count) std::this_thread::yield();
  }
  void Open() { open_.set_value(); }

 private:
  std::promise<void> open_;
  std::shared_future<void> opened_ = open_.get_future().share();
  std::atomic<int> running_{0};
};

TEST(WorkerPool, TenantsTakeTurns) {
  std::string order;
  std::atomic<double> now{0};  // a task takes what it says, however busy the machine is
  Gate gate;
  std::promise<void> end;
  {
    WorkerPool pool({.threads = 1, .now = [&now] { return now.load(); }});
    ASSERT_TRUE(pool.Run({.tenant = "alice", .bytes = kLarge}, gate.Task()));
    gate.WaitUntilRunning(1);
    const auto run = [&](const std::string& tenant, char mark) {
      ASSERT_TRUE(pool.Run({.tenant = tenant, .bytes = kLarge}, [&, mark] {
        order += mark;
        now = now + 0.002;
      }));
    };
    for (int i = 0; i < 6; ++i) run("alice", 'a');
    for (int i = 0; i < 2; ++i) run("bob", 'b');
    ASSERT_TRUE(pool.Run({.bytes = kLarge}, [&] { end.set_value(); }));
    gate.Open();
    end.get_future().wait();
    std::promise<void> rest;
    ASSERT_TRUE(pool.Run({.tenant = "alice", .bytes = kLarge}, [&] { rest.set_value(); }));
    rest.get_future().wait();
  }
  EXPECT_EQ(order.size(), 8u);
  EXPECT_LE(order.rfind('b'), 3u) << order;
}

TEST(WorkerPool, SmallTasks_DoNotWaitForLargeOnes) {
  Gate gate;
  WorkerPool pool({.threads = 2, .small_threads = 1});
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(pool.Run({.tenant = "alice", .bytes = kLarge}, gate.Task()));
  }
  gate.WaitUntilRunning(2);
  std::promise<void> done;
  ASSERT_TRUE(pool.Run({.tenant = "bob", .bytes = 100}, [&] { done.set_value(); }));
  EXPECT_EQ(done.get_future().wait_for(std::chrono::seconds(20)), std::future_status::ready);
  gate.Open();
}

TEST(WorkerPool, OneTenantFillsItsShareOfThePlaces) {
  Gate gate;
  WorkerPool pool({.threads = 1, .max_tasks = 16, .tenant_share = 0.5});
  ASSERT_TRUE(pool.Run({}, gate.Task()));
  gate.WaitUntilRunning(1);
  const auto fill = [&](const std::string& tenant) {
    int count = 0;
    while (pool.Run({.tenant = tenant}, [] {})) ++count;
    return count;
  };
  EXPECT_EQ(fill("alice"), 8);
  EXPECT_EQ(fill("bob"), 4);
  EXPECT_TRUE(pool.Run({.tenant = "alice", .is_bounded_elsewhere = true}, [] {}));
  EXPECT_EQ(fill(""), 3);
  EXPECT_FALSE(pool.Run({.tenant = "carol"}, [] {}));
  gate.Open();
}

TEST(WorkerPool, ATaskThatThrows_EndsAlone) {
  WorkerPool pool({.threads = 1});
  ASSERT_TRUE(pool.Run({}, [] { throw std::bad_alloc(); }));
  std::promise<void> done;
  ASSERT_TRUE(pool.Run({}, [&] { done.set_value(); }));
  done.get_future().wait();
}

}  // namespace
}  // namespace rill::server
