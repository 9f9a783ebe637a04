// What this machine can do at most, measured: the denominator of every speed.
#pragma once

#include <cstdint>

namespace rill::llm {

struct MachineLimits {
  double memory_bytes_per_s = 0;   // read by all threads from a buffer larger than the caches
  double multiply_adds_per_s = 0;  // f32, in registers, with the widest vectors of this CPU
};

// Takes about a tenth of a second; other load on the machine makes both smaller. `num_threads` <=
// 0: every CPU this process may use. Holds 256 MiB meanwhile, or `max_bytes` (at least 1 MiB) if
// that is less.
MachineLimits MeasureMachineLimits(int num_threads, int64_t max_bytes);

}  // namespace rill::llm
