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

}  // namespace
}  // namespace rill
