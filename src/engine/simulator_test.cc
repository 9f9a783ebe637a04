#include "engine/simulator.h"

#include <gtest/gtest.h>

#include <cstdio>

namespace rill::engine {
namespace {

TEST(Simulator, RandomTraffic_BreaksNothing) {
  SimulationReport total;
  for (uint64_t seed = 1; total.steps < 1000000; ++seed) {
    const auto report = Simulate({.seed = seed, .steps = 300});
    ASSERT_TRUE(report.ok()) << report.status().ToString();
    total.Add(*report);
  }
  std::printf(
      "%lld steps, %lld requests (%lld refused), %lld tokens; choices: %lld stopped, %lld at the "
      "limit, %lld cancelled, %lld errors; %lld page copies, %lld failed steps, %lld lost devices, "
      "longest life %lld steps\n",
      static_cast<long long>(total.steps), static_cast<long long>(total.accepted),
      static_cast<long long>(total.refused), static_cast<long long>(total.tokens),
      static_cast<long long>(total.stopped), static_cast<long long>(total.length),
      static_cast<long long>(total.cancelled), static_cast<long long>(total.errors),
      static_cast<long long>(total.page_copies), static_cast<long long>(total.failed_steps),
      static_cast<long long>(total.lost_devices), static_cast<long long>(total.longest_wait_steps));
  // The traffic reaches what it is meant to reach.
  EXPECT_GT(total.stopped, 1000);
  EXPECT_GT(total.length, 1000);
  EXPECT_GT(total.cancelled, 1000);
  EXPECT_GT(total.errors, 300);
  EXPECT_GT(total.page_copies, 1000);
  EXPECT_GT(total.lost_devices, 10);
  EXPECT_GT(total.cached_tokens, 1000);
  EXPECT_GT(total.evicted_pages, 1000);
  EXPECT_GT(total.paused_steps, 1000);
  EXPECT_GT(total.expired, 100);
  EXPECT_GT(total.prompt_logprobs, 1000);
}

}  // namespace
}  // namespace rill::engine
