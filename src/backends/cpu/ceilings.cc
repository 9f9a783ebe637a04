#include "backends/cpu/ceilings.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <vector>

#include "backends/cpu/packed_weight.h"
#include "base/available_memory.h"

namespace rill::cpu {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

constexpr int kRounds = 3;  // of which the best counts
// Bytes a thread that every first-level data cache holds; what is smaller is read no faster.
constexpr int64_t kSmallSet = 16 << 10;
static_assert(kSmallSet % kReadGrain == 0);

// Multiply-adds of 8-bit integers as plain C++: what the scalar kernels are made of.
void PlainInt8(int64_t rounds, int32_t* sink) {
  int8_t a[64], b[64];
  uint32_t sum[64] = {};  // wraps around
  for (int i = 0; i < 64; ++i) a[i] = b[i] = static_cast<int8_t>(i + *sink);
  for (int64_t r = 0; r < rounds; ++r) {
    asm volatile("" : : "r"(a), "r"(b) : "memory");  // read again each round
    for (int i = 0; i < 64; ++i) sum[i] += static_cast<uint32_t>(a[i] * b[i]);
  }
  for (uint32_t s : sum) *sink = static_cast<int32_t>(static_cast<uint32_t>(*sink) + s);
}

// Multiply and add: without an fma instruction, a fused one would be a call into libm.
void PlainFloat(int64_t rounds, int32_t* sink) {
  float a[64], sum[64] = {};
  for (int i = 0; i < 64; ++i) a[i] = static_cast<float>(i + *sink) * 1e-3f;
  for (int64_t r = 0; r < rounds; ++r) {
    asm volatile("" : : "r"(a) : "memory");
    for (int i = 0; i < 64; ++i) sum[i] += a[i] * 1e-3f;
  }
  for (float s : sum) *sink += s > 1e30f;
}

// Multiply-adds per second of one loop on all threads.
double Rate(const CeilingLoop& loop, ThreadPool& pool, double seconds) {
  if (loop.run == nullptr) return 0;
  const double work = static_cast<double>(loop.macs_per_round) * pool.num_workers();
  double rounds = 1000, best = 0, total = 0;
  // A busy machine may take a thread away in any round: how many rounds are enough follows from the
  // best rate so far, and so does the result.
  for (int counted = 0; counted < kRounds && total < 20 * seconds;) {
    std::vector<int32_t> sinks(static_cast<size_t>(pool.num_workers()) * 64);
    const auto start = Clock::now();
    pool.Run([&](int worker, int) {
      loop.run(static_cast<int64_t>(rounds), &sinks[static_cast<size_t>(worker) * 64]);
    });
    const double took = std::max(SecondsSince(start), 1e-9);
    total += took;
    best = std::max(best, std::floor(rounds) * work / took);
    const double wanted = best / work * seconds / kRounds;
    if (rounds < wanted / 1.2) {
      rounds = std::min(wanted * 1.2, rounds * 100);
    } else {
      ++counted;
    }
  }
  return best;
}

uint64_t PlainRead(const uint8_t* data, int64_t size) {
  const int64_t length = size / kReadStreams;
  uint64_t sum[8] = {};
  for (int64_t i = 0; i < length; i += 512) {
    for (int64_t s = 0; s < kReadStreams; ++s) {
      const auto* p = reinterpret_cast<const uint64_t*>(data + s * length + i);
      for (int j = 0; j < 64; j += 8) {
        __builtin_prefetch(reinterpret_cast<const uint8_t*>(p + j) + kReadAhead);
        for (int l = 0; l < 8; ++l) sum[l] |= p[j + l];
      }
    }
  }
  uint64_t all = 0;
  for (uint64_t s : sum) all |= s;
  return all;
}

// Of a set that the first-level caches hold: each thread reads its share again and again, for what
// starts and ends a pass takes longer than the pass.
double SmallReadGbs(const CeilingLoops& loops, const uint8_t* data, int64_t size, ThreadPool& pool,
                    double seconds) {
  constexpr int64_t kPasses = 100;
  std::atomic<uint64_t> sink{0};
  double best = 0, total = 0;
  for (int round = 0; round < kRounds + 1 || (total < seconds && round < 1000); ++round) {
    const auto start = Clock::now();
    pool.Run([&](int worker, int num_workers) {
      const int64_t grains = size / kReadGrain;
      const int64_t begin = grains * worker / num_workers;
      const int64_t end = grains * (worker + 1) / num_workers;
      uint64_t sum = 0;
      for (int64_t pass = 0; pass < kPasses; ++pass) {
        sum |= loops.read(data + begin * kReadGrain, (end - begin) * kReadGrain);
      }
      sink += sum;
    });
    const double took = SecondsSince(start);
    total += took;
    if (round == 0) continue;
    best = std::max(best, static_cast<double>(kPasses * (size / kReadGrain * kReadGrain)) / took);
  }
  return best / 1e9;
}

double ReadGbs(const CeilingLoops& loops, const uint8_t* data, int64_t size, ThreadPool& pool,
               double seconds) {
  std::atomic<uint64_t> sink{0};
  double best = 0, total = 0;
  // The first pass brings the data where it will stay.
  for (int round = 0; round < kRounds + 1 || (total < seconds && round < 1000); ++round) {
    const auto start = Clock::now();
    pool.ParallelFor(size / kReadGrain, 1, [&](int64_t begin, int64_t end) {
      sink += loops.read(data + begin * kReadGrain, (end - begin) * kReadGrain);
    });
    const double took = SecondsSince(start);
    total += took;
    if (round > 0)
      best = std::max(best, static_cast<double>(size / kReadGrain * kReadGrain) / took);
    // Short passes need more of them; long ones are a measurement each.
    if (round >= kRounds && took > seconds) break;
  }
  return best / 1e9;
}

double BarrierNs(ThreadPool& pool, double seconds) {
  double best = 1e9;
  const auto begin = Clock::now();
  while (SecondsSince(begin) < seconds) {
    const auto start = Clock::now();
    constexpr int kRuns = 200;
    for (int i = 0; i < kRuns; ++i) pool.Run([](int, int) {});
    best = std::min(best, SecondsSince(start) * 1e9 / kRuns);
  }
  return best;
}

}  // namespace

CeilingLoops CeilingLoopsOf(std::string_view isa) {
  CeilingLoops loops;
#if defined(__x86_64__)
  loops = CeilingLoopsX86(isa);
#elif defined(__aarch64__)
  loops = CeilingLoopsArm(isa);
#else
  (void)isa;
#endif
  if (loops.int8_dot.run == nullptr) loops.int8_dot = {PlainInt8, 64};
  if (loops.f32_fma.run == nullptr) loops.f32_fma = {PlainFloat, 64};
  if (loops.read == nullptr) loops.read = PlainRead;
  return loops;
}

static int64_t LeastReadBuffer(const CeilingOptions& options) {
  return std::max<int64_t>(options.least_buffer_bytes, 1 << 20) / 4096 * 4096;
}

int64_t ReadBufferBytes(const CeilingOptions& options, int64_t available_bytes) {
  return std::max(LeastReadBuffer(options),
                  std::min(options.buffer_bytes, available_bytes / 4) / 4096 * 4096);
}

Result<Ceilings> MeasureCeilings(std::string_view isa, ThreadPool& pool,
                                 const CeilingOptions& options) {
  Ceilings out;
  out.isa = std::string(isa);
  out.threads = pool.num_workers();
  const CeilingLoops loops = CeilingLoopsOf(isa);
  out.int8_dot_gmacs = Rate(loops.int8_dot, pool, options.seconds) / 1e9;
  out.f32_fma_gflops = 2 * Rate(loops.f32_fma, pool, options.seconds) / 1e9;
  out.barrier_ns = BarrierNs(pool, options.seconds / 2);

  const int64_t least = LeastReadBuffer(options);
  int64_t size = ReadBufferBytes(options, AvailableMemory());
  AlignedBytes buffer(size);
  // A limit on the address space (ulimit -v) is in no account of the memory that is left.
  while (buffer.data() == nullptr && size > least) {
    size = std::max(least, size / 2 / 4096 * 4096);
    buffer = AlignedBytes(size);
  }
  if (buffer.data() == nullptr) {
    return ResourceExhausted("ceilings: no memory for a buffer of " + std::to_string(size) +
                             " bytes");
  }
  // Written, because all untouched pages are one and the same page of zeros.
  pool.ParallelFor(size / 4096, 1, [&](int64_t begin, int64_t end) {
    std::memset(buffer.data() + begin * 4096, 0x2C, static_cast<size_t>(end - begin) * 4096);
  });
  out.dram_read_gbs = ReadGbs(loops, buffer.data(), size, pool, options.seconds);
  std::vector<double> sets = options.working_sets;
  // Beyond the buffer nothing is known.
  std::erase_if(sets, [&](double set) { return !(set > 0 && set <= static_cast<double>(size)); });
  std::sort(sets.begin(), sets.end());
  for (double set : sets) {
    const auto bytes = static_cast<int64_t>(set);
    const int64_t small = std::min(kSmallSet * pool.num_workers(), size);
    out.reads.push_back(
        {set, bytes > small ? ReadGbs(loops, buffer.data(), bytes, pool, options.seconds)
                            : SmallReadGbs(loops, buffer.data(), small, pool, options.seconds)});
  }
  out.reads.push_back({static_cast<double>(size), out.dram_read_gbs});
  return out;
}

}  // namespace rill::cpu
