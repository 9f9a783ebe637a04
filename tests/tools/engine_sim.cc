// engine_sim: long campaigns of the engine's simulator.
//   engine_sim [--seeds N] [--first-seed S] [--steps N]
// Runs histories S, S + 1, …, prints what was covered; exits 1 at the first that fails, with its
// seed: `engine_sim --first-seed <seed> --seeds 1` runs it again.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "engine/simulator.h"

int main(int argc, char** argv) {
  uint64_t num_seeds = 1000, first_seed = 1;
  rill::engine::SimulationOptions options;
  for (int i = 1; i < argc; i += 2) {
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (value && !std::strcmp(argv[i], "--seeds")) {
      num_seeds = std::strtoull(value, nullptr, 10);
    } else if (value && !std::strcmp(argv[i], "--first-seed")) {
      first_seed = std::strtoull(value, nullptr, 10);
    } else if (value && !std::strcmp(argv[i], "--steps")) {
      options.steps = std::strtoll(value, nullptr, 10);
    } else {
      std::fprintf(stderr, "usage: engine_sim [--seeds N] [--first-seed S] [--steps N]\n");
      return 2;
    }
  }
  const auto begin = std::chrono::steady_clock::now();
  rill::engine::SimulationReport total;
  for (uint64_t seed = first_seed; seed < first_seed + num_seeds; ++seed) {
    options.seed = seed;
    const auto report = rill::engine::Simulate(options);
    if (!report.ok()) {
      std::fprintf(stderr, "%s\n", report.status().ToString().c_str());
      return 1;
    }
    total.Add(*report);
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  std::printf(
      "{\"seeds\": %llu, \"first_seed\": %llu, \"steps\": %lld, \"requests\": %lld, "
      "\"refused\": %lld, \"tokens\": %lld, \"choices_cancelled\": %lld, \"choices_failed\": %lld, "
      "\"page_copies\": %lld, \"failed_steps\": %lld, \"cached_tokens\": %lld, "
      "\"evicted_pages\": %lld, \"paused_steps\": %lld, \"expired\": %lld, "
      "\"prompt_logprobs\": %lld, \"violations\": 0, \"seconds\": %.1f}\n",
      static_cast<unsigned long long>(num_seeds), static_cast<unsigned long long>(first_seed),
      static_cast<long long>(total.steps), static_cast<long long>(total.accepted),
      static_cast<long long>(total.refused), static_cast<long long>(total.tokens),
      static_cast<long long>(total.cancelled), static_cast<long long>(total.errors),
      static_cast<long long>(total.page_copies), static_cast<long long>(total.failed_steps),
      static_cast<long long>(total.cached_tokens), static_cast<long long>(total.evicted_pages),
      static_cast<long long>(total.paused_steps), static_cast<long long>(total.expired),
      static_cast<long long>(total.prompt_logprobs), elapsed.count());
  return 0;
}
