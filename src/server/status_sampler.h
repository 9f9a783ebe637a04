// StatusSampler: what the server did in the last interval, as rates and as shares of what this
// machine can do.
#pragma once

#include <atomic>
#include <chrono>
#include <initializer_list>
#include <map>
#include <string>

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

// Seconds that the work between two samples took: those that passed, or, where that is more, what a
// model's steps took that ended in between. A step counts whole where it ends, and one of three
// seconds in a sample of one would look like three times what the machine can do. The maps: seconds
// of all steps so far, by model.
double WindowOf(double elapsed_s, const std::map<std::string, double>& before,
                const std::map<std::string, double>& after);

// Owner thread: one.
class StatusSampler {
 public:
  explicit StatusSampler(ServerState& state);
  // Since the last call. Also puts the shares into `state`, for /metrics.
  ServerStatus Sample();

 private:
  struct Totals {
    double prompt_tokens = 0, output_tokens = 0, step_s = 0;
    std::map<std::string, double> model_step_s;  // by model id
    double bytes = 0;                            // weights, once per step, and keys and values
    double int8_macs = 0, f32_macs = 0;
  };
  Totals ReadTotals(ServerStatus& status) const;

  ServerState& state_;
  std::chrono::steady_clock::time_point last_;
  Totals totals_;
};

}  // namespace rill::server
