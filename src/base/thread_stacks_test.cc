#include "base/thread_stacks.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <regex>
#include <thread>

#include "base/testing.h"

namespace rill {
namespace {

std::atomic<bool> g_stop, g_inside;

// A loop that calls nothing: the stack is that of code that computes.
[[gnu::noinline]] void Hang() {
  uint64_t turns = 0;
  while (!g_stop.load(std::memory_order_relaxed)) {
    g_inside.store(true, std::memory_order_relaxed);
    ++turns;
  }
  EXPECT_GT(turns, 0u);
}

// The thread's part of the text.
std::string PartOf(const std::string& text, const std::string& name) {
  std::smatch match;
  const std::regex part("(^|\\| )" + name + " ([^|]*)");
  return std::regex_search(text, match, part) ? match[2].str() : "";
}

TEST(ThreadStacks, ThreadThatComputes_IsToldWithItsFunction) {
  g_stop = g_inside = false;
  std::thread thread([] {
    pthread_setname_np(pthread_self(), "hangs");
    Hang();
  });
  while (!g_inside) std::this_thread::yield();
  const std::string part = PartOf(DescribeThreads(std::chrono::seconds(20)), "hangs");
  g_stop = true;
  thread.join();
  // Without symbols in the program a frame is its offset: one within Hang's first bytes.
  Dl_info info{};
  ASSERT_NE(dladdr(reinterpret_cast<void*>(&Hang), &info), 0);
  const uintptr_t begin =
      reinterpret_cast<uintptr_t>(&Hang) - reinterpret_cast<uintptr_t>(info.dli_fbase);
  bool found = part.find("Hang") != std::string::npos;
  const std::regex offset("\\+0x([0-9a-f]+)");
  for (std::sregex_iterator it(part.begin(), part.end(), offset), end; it != end; ++it) {
    const uintptr_t value = std::stoull((*it)[1], nullptr, 16);
    found = found || (value >= begin && value < begin + 1024);
  }
  EXPECT_TRUE(found) << std::hex << begin << ": " << part;
}

TEST(ThreadStacks, ThreadThatDoesNotAnswer_IsToldAndNotWaitedFor) {
  std::atomic<bool> stop{false}, ready{false};
  std::thread thread([&] {
    pthread_setname_np(pthread_self(), "deaf");
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    ready = true;
    while (!stop) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  while (!ready) std::this_thread::yield();
  const std::string first = DescribeThreads(std::chrono::milliseconds(20));
  const std::string second = DescribeThreads(std::chrono::milliseconds(20));
  stop = true;
  thread.join();
  EXPECT_NE(PartOf(first, "deaf").find("(no answer)"), std::string::npos) << first;
  EXPECT_NE(PartOf(second, "deaf").find("(no answer)"), std::string::npos) << second;
  EXPECT_NE(second.find("(writes this)"), std::string::npos) << second;
}

}  // namespace
}  // namespace rill
