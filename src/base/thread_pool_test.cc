#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <ctime>

namespace rill {
namespace {

TEST(ThreadPool, ParallelFor_CoversEachIndexOnce) {
  for (int workers = 1; workers <= 5; ++workers) {
    ThreadPool pool(workers);
    for (int64_t count : {0, 1, 2, 7, 64, 1000}) {
      for (int64_t grain : {1, 3, 16}) {
        std::vector<std::atomic<int>> hits(static_cast<size_t>(count));
        pool.ParallelFor(count, grain, [&](int64_t begin, int64_t end) {
          EXPECT_EQ(begin % grain, 0);
          for (int64_t i = begin; i < end; ++i) hits[static_cast<size_t>(i)]++;
        });
        for (auto& h : hits) ASSERT_EQ(h.load(), 1);
      }
    }
  }
}

TEST(ThreadPool, ManyRuns_WithAndWithoutParking_LoseNoWakeUp) {
  ThreadPool pool(4);
  std::atomic<int64_t> total{0};
  for (int i = 0; i < 20000; ++i) {
    pool.Run([&](int worker, int) { total += worker; });
    if (i % 1000 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  EXPECT_EQ(total.load(), int64_t{20000} * (1 + 2 + 3));
}

TEST(ThreadPool, SharesThatNobodyBegan_AreTheCallers) {
  ThreadPool pool(32);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // all have parked: slow to come
    std::vector<std::thread::id> by(32);
    pool.Run(
        [&](int worker, int) { by[static_cast<size_t>(worker)] = std::this_thread::get_id(); });
    int64_t mine = 0;
    for (const std::thread::id& id : by) {
      ASSERT_NE(id, std::thread::id());
      mine += id == std::this_thread::get_id();
    }
    EXPECT_GT(mine, 1);
  }
}

TEST(ThreadPool, Idle_UsesNoCpu) {
  ThreadPool pool(2);
  pool.Run([](int, int) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const std::clock_t before = std::clock();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const double used_s = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
  EXPECT_LT(used_s, 0.02);
}

}  // namespace
}  // namespace rill
