#include "base/touch_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <system_error>

#include "base/thread_pool.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14; in Debian 12's headers
#endif

namespace rill {
namespace {

constexpr int64_t kPieceBytes = 32 << 20;

// errno, or 0.
int Touch(std::byte* begin, std::byte* end, int64_t page_bytes) {
  while (madvise(begin, static_cast<size_t>(end - begin), MADV_POPULATE_WRITE) != 0) {
    if (errno == EINTR || errno == EAGAIN) continue;
    if (errno != EINVAL) return errno;
    // An older system: writes that change nothing.
    for (std::byte* page = begin; page < end; page += page_bytes) {
      auto* byte = reinterpret_cast<std::atomic<uint8_t>*>(page);
      byte->fetch_or(0, std::memory_order_relaxed);
    }
    break;
  }
  return 0;
}

}  // namespace

Status TouchMemory(void* data, int64_t size_bytes, int num_threads) {
  if (size_bytes <= 0) return OkStatus();
  const int64_t page_bytes = sysconf(_SC_PAGESIZE);
  auto* const begin = reinterpret_cast<std::byte*>(reinterpret_cast<uintptr_t>(data) &
                                                   ~static_cast<uintptr_t>(page_bytes - 1));
  const int64_t bytes = static_cast<std::byte*>(data) + size_bytes - begin;
  const int64_t pieces = (bytes + kPieceBytes - 1) / kPieceBytes;
  std::atomic<int64_t> next{0};
  std::atomic<int> error{0};
  ThreadPool pool(
      static_cast<int>(std::min<int64_t>(pieces, num_threads > 0 ? num_threads : AvailableCpus())));
  pool.Run([&](int, int) {
    for (int64_t i = next++; i < pieces && error == 0; i = next++) {
      const int64_t end = std::min(bytes, (i + 1) * kPieceBytes);
      if (const int e = Touch(begin + i * kPieceBytes, begin + end, page_bytes); e != 0) error = e;
    }
  });
  if (error == 0) return OkStatus();
  return ResourceExhausted(fmt::format("{} bytes of memory are not there: {}", size_bytes,
                                       std::generic_category().message(error)));
}

}  // namespace rill
