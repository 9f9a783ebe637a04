// Simulator: the engine under random traffic, checked after every step against what must hold.
//
// One history is one seed: a random geometry (tiny pools, pages and budgets), then arrivals,
// tenants, common prefixes, deadlines on a simulated clock, cancels of requests and of single
// choices (between steps and from callbacks), planted NaN rows, failing steps and sometimes a lost
// device, over HashRunner, whose tokens depend on every position that is read through the page
// tables. Checked:
//   - Engine::CheckIntegrity after every step and every cancel: pages conserved (used + cached +
//     free), refcounts exact, claims safe
//   - each named page holds the tokens of its name; a prefix is found only where the same tenant
//     and salt asked for it or got it before
//   - a step with requests always computes something (no deadlock, no idling), whatever a predictor
//     says
//   - admission follows the queue's rule (priority, fair share, age); refusals are exactly the
//     requests that can never fit
//   - each choice ends exactly once, each request has exactly one final event, after which none
//   comes
//   - ends have a cause: a stop id, the limit, our cancel, our planted fault, a deadline
//   - every output is the serial hash chain, sampled alone; so is every log-probability of a prompt
//   - when the traffic stops, everything ends within as many steps as there are tokens left, and no
//     page is in use
// Single-threaded and deterministic: a seed that fails, fails again.
#pragma once

#include <cstdint>

#include "rill/status.h"

namespace rill::engine {

struct SimulationOptions {
  uint64_t seed = 1;
  int64_t steps = 1000;  // with traffic; then the rest drains
};

struct SimulationReport {
  int64_t steps = 0;
  int64_t accepted = 0, refused = 0;
  int64_t stopped = 0, length = 0, cancelled = 0, errors = 0;  // choices by reason
  int64_t tokens = 0;
  int64_t page_copies = 0;
  int64_t failed_steps = 0, lost_devices = 0;
  int64_t cached_tokens = 0, evicted_pages = 0, paused_steps = 0, expired = 0;
  int64_t prompt_logprobs = 0;
  int64_t longest_wait_steps = 0;  // from Submit to the final event

  void Add(const SimulationReport& other);
};

// kInternal with seed, step and what did not hold.
Result<SimulationReport> Simulate(const SimulationOptions& options);

}  // namespace rill::engine
