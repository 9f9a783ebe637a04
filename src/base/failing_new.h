// For tests only: allocations of a chosen thread that fail. Replaces operator new for the whole
// program, and aligned_alloc, which asio calls; so one source of a test binary includes it, and no
// other. A sanitizer has an operator new of its own: nothing fails there (kAllocationsFail).
//
//   FailAllocations("rill-post", 17, 1);  // the 17th from now on that thread of that name, once
//   …
//   EXPECT_EQ(StopFailing(), 1);          // how many did
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace rill::testing {

#if defined(RILL_SANITIZED)
inline constexpr bool kAllocationsFail = false;
#else
inline constexpr bool kAllocationsFail = true;
#endif

struct FailingNew {
  std::atomic<bool> armed{false};
  char thread[16] = {};
  std::atomic<int64_t> seen{0}, failed{0};
  int64_t first = 0, count = 0;
};
inline FailingNew g_failing_new;

// The `first`th (from 1) to the `first + count - 1`th allocation. Not while it is armed.
inline void FailAllocations(const char* thread, int64_t first, int64_t count) {
  FailingNew& f = g_failing_new;
  std::strncpy(f.thread, thread, sizeof f.thread - 1);
  f.seen = f.failed = 0;
  f.first = first;
  f.count = count;
  f.armed.store(true, std::memory_order_release);
}

inline int64_t StopFailing() {
  g_failing_new.armed = false;
  return g_failing_new.failed;
}

inline bool FailsNow() {
  FailingNew& f = g_failing_new;
  if (!f.armed.load(std::memory_order_acquire)) return false;
  char name[16] = {};
  if (pthread_getname_np(pthread_self(), name, sizeof name) != 0) return false;
  if (std::strcmp(name, f.thread) != 0) return false;
  const int64_t number = f.seen.fetch_add(1) + 1;
  if (number < f.first || number >= f.first + f.count) return false;
  ++f.failed;
  return true;
}

}  // namespace rill::testing

#if !defined(RILL_SANITIZED)
// Not inlined: the compiler would take the pair for mismatched.
[[gnu::noinline]] void* operator new(size_t size) {
  if (rill::testing::FailsNow()) throw std::bad_alloc();
  if (void* memory = std::malloc(size > 0 ? size : 1)) return memory;
  throw std::bad_alloc();
}
extern "C" [[gnu::noinline]] void* aligned_alloc(size_t alignment, size_t size) noexcept {
  void* memory = nullptr;
  if (rill::testing::FailsNow() || posix_memalign(&memory, alignment, size) != 0) return nullptr;
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
#endif  // !RILL_SANITIZED
