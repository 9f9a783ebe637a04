// What this CPU can do at most with an instruction set, measured: the denominators of every "% of
// limit". Loops of nothing but the instruction in question (ceilings_<arch>.cc) on all threads of a
// pool; the best of a few short rounds, because noise only ever slows down.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/thread_pool.h"
#include "rill/hardware.h"
#include "rill/status.h"

namespace rill::cpu {

// One loop: does `rounds` rounds of its instruction on registers. The sink keeps the compiler from
// dropping it. `work_per_round`: multiply-adds.
struct CeilingLoop {
  void (*run)(int64_t rounds, int32_t* sink) = nullptr;
  int64_t macs_per_round = 0;
};

struct CeilingLoops {
  CeilingLoop int8_dot;  // the fastest way to multiply-add 8-bit integers that the kernels may use
  CeilingLoop f32_fma;
  // Reads [data, data + size), a multiple of kReadGrain, as kReadStreams streams side by side.
  uint64_t (*read)(const uint8_t* data, int64_t size) = nullptr;
};
// One stream a thread with 16-byte loads reaches 9 GB/s where four with 64-byte loads and prefetch
// reach 34 (Sapphire Rapids, 2 threads).
inline constexpr int64_t kReadStreams = 4;
inline constexpr int64_t kReadGrain = kReadStreams * 512;
inline constexpr int64_t kReadAhead = 2048;  // bytes

// Loops for the kernels `isa` (namespace names of isa_list.def). Those that have none of their own
// get the plain ones.
CeilingLoops CeilingLoopsOf(std::string_view isa);
#if defined(__x86_64__)
CeilingLoops CeilingLoopsX86(std::string_view isa);
#elif defined(__aarch64__)
CeilingLoops CeilingLoopsArm(std::string_view isa);
#endif

// The buffer for the DRAM rate where `available_bytes` are left: a quarter of them at most, but not
// less than the least of `options`; whole pages.
int64_t ReadBufferBytes(const CeilingOptions& options, int64_t available_bytes);

// The read buffer is halved until it can be had. Errors: kResourceExhausted when its least cannot.
Result<Ceilings> MeasureCeilings(std::string_view isa, ThreadPool& pool,
                                 const CeilingOptions& options);

}  // namespace rill::cpu
