#include "base/side_thread.h"

#include <gtest/gtest.h>

#include <atomic>
#include <new>
#include <stdexcept>

namespace rill {
namespace {

TEST(SideThread, Join_ThrowsWhatTheWorkThrew) {
  SideThread work([] { throw std::bad_alloc(); });
  EXPECT_THROW(work.Join(), std::bad_alloc);
  work.Join();  // once
}

TEST(SideThread, Destructor_WaitsForTheWorkWhenSomethingElseThrows) {
  std::atomic<bool> go{false}, done{false};
  try {
    SideThread work([&] {
      while (!go) std::this_thread::yield();
      done = true;
      throw std::bad_alloc();  // nobody joins: lost
    });
    go = true;
    throw std::runtime_error("meanwhile");
  } catch (const std::runtime_error&) {
  }
  EXPECT_TRUE(done);
}

TEST(OnThreads, WorkIsCalledOnEach) {
  for (const size_t num_threads : {0u, 1u, 2u, 5u}) {
    std::atomic<size_t> calls{0};
    OnThreads(num_threads, [&] { ++calls; });
    EXPECT_EQ(calls, num_threads == 0 ? 1 : num_threads);
  }
}

}  // namespace
}  // namespace rill
