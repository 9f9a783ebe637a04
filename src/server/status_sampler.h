// StatusSampler: what the server did in the last interval, as rates and as shares of what this
// machine can do.
#pragma once

#include <atomic>
#include <chrono>
#include <initializer_list>

#include "rill/server.h"
#include "server/server_state.h"

namespace rill::server {

// Measures memory bandwidth and multiply-adds per second of this machine with the kernels and the
// threads that the models use, in a few tenths of a second, and keeps them in `state`. Holds at
// most 256 MiB meanwhile, and no more than `planned_bytes`, what the models will take: a memory
// limit that they fit in must do, and the rate at which that much is read is the one that binds
// them.
void MeasureMachine(ServerState& state, int64_t planned_bytes);

// `share`, a rate over the limits, in [0, 1]. More than was measured to be possible shows that the
// limits were measured too low (another process was busy): they are raised to what was seen.
double ShareOf(double share, std::initializer_list<std::atomic<double>*> limits);

// Owner thread: one.
class StatusSampler {
 public:
  explicit StatusSampler(ServerState& state);
  // Since the last call. Also puts the shares into `state`, for /metrics.
  ServerStatus Sample();

 private:
  struct Totals {
    double prompt_tokens = 0, output_tokens = 0, step_s = 0;
    double bytes = 0;  // weights, once per step, and keys and values
    double int8_macs = 0, f32_macs = 0;
  };
  Totals ReadTotals(ServerStatus& status) const;

  ServerState& state_;
  std::chrono::steady_clock::time_point last_;
  Totals totals_;
};

}  // namespace rill::server
