#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
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

// A worker without a CPU, as near as a test comes to it: stuck in a signal handler.
int g_stuck_until = -1;  // a pipe's end
void GetStuck(int) {
  char byte;
  while (read(g_stuck_until, &byte, 1) < 0 && errno == EINTR) {
  }
}

TEST(ThreadPool, SharesThatNobodyBegan_AreTheCallers) {
  ThreadPool pool(3);
  std::array<pthread_t, 3> threads{};
  std::atomic<int> arrived{0};
  pool.Run([&](int worker, int) {
    threads[static_cast<size_t>(worker)] = pthread_self();
    ++arrived;
    while (arrived < 3) std::this_thread::yield();  // each by its own thread
  });
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  g_stuck_until = ends[0];
  struct sigaction action = {};
  action.sa_handler = GetStuck;
  struct sigaction before;
  ASSERT_EQ(sigaction(SIGUSR1, &action, &before), 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // both are parked, no lock is held
  ASSERT_EQ(pthread_kill(threads[1], SIGUSR1), 0);
  // Without help the pool would wait for this.
  std::atomic<bool> released{false}, done{false};
  std::thread release([&] {
    for (int i = 0; i < 300 && !done; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    released = !done;
    EXPECT_EQ(write(ends[1], "x", 1), 1);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  std::array<std::atomic<int>, 3> calls{};
  pool.Run([&](int worker, int) { ++calls[static_cast<size_t>(worker)]; });
  EXPECT_FALSE(released);
  done = true;
  release.join();
  for (const auto& count : calls) EXPECT_EQ(count, 1);
  // The late one finds nothing to do, and is there for what follows.
  std::atomic<int64_t> total{0};
  for (int i = 0; i < 1000; ++i) pool.Run([&](int worker, int) { total += worker; });
  EXPECT_EQ(total, 1000 * (1 + 2));
  sigaction(SIGUSR1, &before, nullptr);
  close(ends[0]);
  close(ends[1]);
}

TEST(ThreadPool, AvailableCpus_AreThoseOfTheAffinityMask) {
  cpu_set_t all;
  CPU_ZERO(&all);
  ASSERT_EQ(sched_getaffinity(0, sizeof all, &all), 0);
  if (AvailableCpus() < 2) GTEST_SKIP() << "skipped: one CPU";
  const pid_t child = fork();
  if (child == 0) {
    int last = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) last = CPU_ISSET(cpu, &all) ? cpu : last;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(last, &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0) _exit(77);
    _exit(AvailableCpus() == 1 && ThreadPool(0).num_workers() == 1 ? 0 : 1);
  }
  int state = 0;
  ASSERT_EQ(waitpid(child, &state, 0), child);
  ASSERT_TRUE(WIFEXITED(state));
  if (WEXITSTATUS(state) == 77) GTEST_SKIP() << "skipped: may not set its affinity";
  EXPECT_EQ(WEXITSTATUS(state), 0);
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

// A share without memory: the caller learns of it when all shares are over, and the pool goes on.
TEST(ThreadPool, NoMemoryInAShare_IsThrownOnceAllAreOver) {
  ThreadPool pool(4);
  for (int lacking = 0; lacking < 4; ++lacking) {
    std::atomic<int> done{0};
    EXPECT_THROW(pool.Run([&](int worker, int) {
      if (worker == lacking) throw std::bad_alloc();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      ++done;
    }),
                 std::bad_alloc);
    EXPECT_EQ(done, 3);
    pool.Run([&](int, int) { ++done; });
    EXPECT_EQ(done, 7);
  }
}

}  // namespace
}  // namespace rill
