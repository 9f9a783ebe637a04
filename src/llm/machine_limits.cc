#include "llm/machine_limits.h"

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "base/thread_pool.h"

namespace rill::llm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kBufferBytes = 256 << 20;
constexpr int kReadPasses = 3;
constexpr int kFloats = 16 * 12;  // twelve vectors of 16: enough to hide the latency of one
constexpr int64_t kFmaSteps = 200'000;

// One multiply-add each, kSteps times; the compiler makes vectors of the target's width of it.
#define RILL_FMA_LOOP(name, target)                                   \
  target float name(int64_t steps, float factor) {                    \
    alignas(64) float sum[kFloats];                                   \
    for (int i = 0; i < kFloats; ++i) sum[i] = static_cast<float>(i); \
    for (int64_t s = 0; s < steps; ++s) {                             \
      for (int i = 0; i < kFloats; ++i) {                             \
        sum[i] = __builtin_fmaf(sum[i], factor, 1.0f);                \
      }                                                               \
    }                                                                 \
    float total = 0;                                                  \
    for (float value : sum) total += value;                           \
    return total;                                                     \
  }

#if defined(__x86_64__)
// Left alone, compilers halve the vectors; each has its own word for "do not".
#if defined(__clang__)
#define RILL_WIDE target("avx512f,avx512vl,fma"), min_vector_width(512)
#else
#define RILL_WIDE target("avx512f,avx512vl,fma,prefer-vector-width=512")
#endif
RILL_FMA_LOOP(FmaAvx512, __attribute__((RILL_WIDE, noinline)))
RILL_FMA_LOOP(FmaAvx2, __attribute__((target("avx2,fma"), noinline)))
#elif defined(__aarch64__)
RILL_FMA_LOOP(FmaNeon, __attribute__((noinline)))
#endif

uint64_t ReadAll(const uint64_t* data, size_t count) {
  uint64_t a = 0, b = 0, c = 0, d = 0;
  for (size_t i = 0; i + 4 <= count; i += 4) {
    a += data[i];
    b ^= data[i + 1];
    c += data[i + 2];
    d ^= data[i + 3];
  }
  return a + b + c + d;
}

}  // namespace

MachineLimits MeasureMachineLimits(int num_threads, int64_t max_bytes) {
  MachineLimits limits;
  const int threads = num_threads > 0 ? num_threads : AvailableCpus();
  const auto bytes = static_cast<size_t>(std::clamp<int64_t>(max_bytes, 1 << 20, kBufferBytes));
  const size_t words = bytes / sizeof(uint64_t) / static_cast<size_t>(threads);
  std::atomic<uint64_t> sink{0};
  std::vector<double> read_s(static_cast<size_t>(threads)), fma_s(static_cast<size_t>(threads));
  std::barrier barrier(threads);
  std::vector<std::thread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      const auto index = static_cast<size_t>(t);
      std::unique_ptr<uint64_t[]> data(new (std::nothrow) uint64_t[words]);
      if (data) std::memset(data.get(), t + 1, words * sizeof(uint64_t));
      barrier.arrive_and_wait();
      if (data) {
        const auto start = Clock::now();
        uint64_t sum = 0;
        for (int pass = 0; pass < kReadPasses; ++pass) sum += ReadAll(data.get(), words);
        sink.fetch_add(sum, std::memory_order_relaxed);
        read_s[index] = std::chrono::duration<double>(Clock::now() - start).count();
      }
      barrier.arrive_and_wait();
      const auto start = Clock::now();
      float result = 0;
#if defined(__x86_64__)
      if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) {
        result = FmaAvx512(kFmaSteps, 0.999f);
      } else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        result = FmaAvx2(kFmaSteps, 0.999f);
      }
#elif defined(__aarch64__)
      result = FmaNeon(kFmaSteps, 0.999f);
#endif
      if (result != 0) {
        fma_s[index] = std::chrono::duration<double>(Clock::now() - start).count();
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  const double slowest_read = *std::max_element(read_s.begin(), read_s.end());
  const double slowest_fma = *std::max_element(fma_s.begin(), fma_s.end());
  if (slowest_read > 0) {
    limits.memory_bytes_per_s =
        static_cast<double>(words * sizeof(uint64_t)) * threads * kReadPasses / slowest_read;
  }
  if (slowest_fma > 0) {
    limits.multiply_adds_per_s = static_cast<double>(kFmaSteps) * kFloats * threads / slowest_fma;
  }
  return limits;
}

}  // namespace rill::llm
