#include "backends/cpu/context.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <new>
#include <set>
#include <thread>
#include <vector>

#include "base/pause.h"

namespace rill::cpu {
namespace {

// Threads that help a context as long as it lives in a test.
class Helpers {
 public:
  Helpers(Context& context, int count) {
    for (int i = 0; i < count; ++i) {
      threads_.emplace_back([this, &context, i] {
        for (int turn = 0; !stop_.load(std::memory_order_relaxed);) {
          if (context.Help(i)) {
            turn = 0;
          } else {
            Pause(turn++);
          }
        }
      });
    }
  }
  ~Helpers() {
    stop_.store(true);
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

const Kernels* AnyKernels() {
  return *SelectKernels("scalar");
}

TEST(Context, EachPieceIsDoneOnce_ByTheOwnerOrAHelper) {
  Context context(AnyKernels(), 1, 2);
  EXPECT_EQ(context.worker.size(), 3u);
  const Helpers helpers(context, 2);
  // Plain numbers: what a helper did must be there when ForPieces returns.
  std::vector<int> done(1000);
  std::set<int> workers;
  for (int round = 0; round < 300; ++round) {
    const int64_t count = 1 + round * 7 % 100;
    std::vector<int> by(static_cast<size_t>(count), -1);
    context.ForPieces(count, 3, [&](int worker, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        ++done[static_cast<size_t>(i)];
        by[static_cast<size_t>(i)] = worker;
      }
      if (worker == 0 && round % 10 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
    workers.insert(by.begin(), by.end());
    for (int64_t i = 0; i < 100; ++i) {
      ASSERT_EQ(done[static_cast<size_t>(i)], i < count ? 1 : 0) << i << " of " << count;
    }
    std::fill(done.begin(), done.end(), 0);
  }
  EXPECT_TRUE(workers.contains(0));
  EXPECT_GE(workers.size(), 2u) << "nobody helped";
  EXPECT_FALSE(workers.contains(-1));
  EXPECT_LE(*workers.rbegin(), 2);
}

TEST(Context, WithoutHelpers_NobodyHelps) {
  Context context(AnyKernels(), 1);
  EXPECT_FALSE(context.Help(0));
  EXPECT_EQ(context.worker.size(), 1u);
}

// Whoever has no memory for a piece, the owner says so when nobody is at it any more.
TEST(Context, NoMemory_IsToldByTheOwner) {
  Context context(AnyKernels(), 1, 1);
  const Helpers helpers(context, 1);
  int told = 0, by_helper = 0;
  for (int round = 0; round < 200; ++round) {
    std::atomic<bool> helper_failed{false};
    bool thrown = false;
    try {
      context.ForPieces(20, 1, [&](int worker, int64_t, int64_t) {
        if (worker == 0) std::this_thread::yield();
        if (worker == 1) helper_failed.store(true);
        if (worker == 1 || round % 20 == 0) throw std::bad_alloc();
      });
    } catch (const std::bad_alloc&) {
      thrown = true;
    }
    EXPECT_EQ(thrown, helper_failed.load() || round % 20 == 0);
    told += thrown;
    by_helper += helper_failed.load();
  }
  EXPECT_GE(told, 10);
  RecordProperty("by_helper", by_helper);
  // A failure that was told is over, of owner and helper at once too.
  for (int round = 0; round < 100; ++round) {
    std::atomic<int> inside{0};
    const auto meet = [&](int, int64_t, int64_t) {
      ++inside;
      for (int turn = 0; inside.load() < 2 && turn < 20'000; ++turn) Pause(turn);
      throw std::bad_alloc();
    };
    EXPECT_THROW(context.ForPieces(2, 1, meet), std::bad_alloc);
    EXPECT_NO_THROW(context.ForPieces(2, 1, [](int, int64_t, int64_t) {}));
  }
}

}  // namespace
}  // namespace rill::cpu
