// Threat I1: the Nth allocation of the engine's thread fails, for every N of a busy second.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <thread>

#include "base/failing_new.h"
#include "engine/engine_loop.h"
#include "engine/engine_test_util.h"

namespace rill::engine {
namespace {

using rill::testing::FailAllocations;
using rill::testing::StopFailing;
using testing::Greedy;
using testing::SmallRunner;

struct Tally {
  int64_t failed = 0;  // allocations
  int right = 0, ended_with_errors = 0;
  bool dead = false;
};

// A loop that has lost the end of a request waits for it for ever, and with it the test: the
// process ends then, since nothing that its thread uses may go.
void StopOrExit(EngineLoop& loop, int64_t first) {
  std::promise<void> stopped;
  std::thread stopper([&] {
    loop.Stop(/*drain=*/true);
    stopped.set_value();
  });
  if (stopped.get_future().wait_for(std::chrono::seconds(20)) != std::future_status::ready) {
    ADD_FAILURE() << "the engine does not stop, allocation " << first;
    std::fflush(nullptr);
    std::_Exit(1);
  }
  stopper.join();
}

// Twelve requests of several kinds, one of them cancelled, on a fresh engine whose allocations fail
// from the `first`th on. Each must have one end; what ends well has all its tokens.
Tally Play(int64_t first, int64_t count) {
  constexpr int kRequests = 12;
  HashRunner runner(SmallRunner());
  auto engine = Engine::Create({.max_choices = 8}, runner);
  EXPECT_TRUE(engine.ok());
  EngineLoop loop(std::move(engine).value());
  std::array<std::atomic<int>, kRequests> finals{}, tokens{};
  std::array<std::atomic<bool>, kRequests> failed{};
  std::array<bool, kRequests> accepted{};
  std::array<RequestId, kRequests> ids{};
  FailAllocations("rill-engine", first, count);
  for (int i = 0; i < kRequests; ++i) {
    GenerateRequest request = Greedy({1, 2, 3, i, 5, 6, 7, 8, 9}, 6 + i);
    request.tenant = i % 2 ? "a" : "b";
    request.n = i % 3 == 0 ? 2 : 1;
    if (i % 4 == 1) request.sampling.logprobs = 3;
    if (i % 4 == 2) request.prompt_logprobs = 2;
    if (i == 5) request.total_timeout_ms = 1;
    const auto id = loop.Submit(std::move(request), [&, i](const TokenEvent& event) {
      if (event.token_id >= 0) ++tokens[i];
      if (event.finish_reason == FinishReason::kError ||
          event.finish_reason == FinishReason::kCancelled) {
        failed[i] = true;
      }
      if (event.is_final) ++finals[i];
    });
    accepted[i] = id.ok();
    if (id.ok()) ids[i] = *id;
    if (i == 7 && id.ok()) loop.Cancel(*id);
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  for (int i = 0; i < kRequests; ++i) {
    while (accepted[i] && finals[i] == 0 && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  }
  Tally tally;
  tally.dead = loop.stats().dead;
  if (!tally.dead) {
    // It goes on: what comes now is answered as ever, unless its own memory fails.
    std::atomic<bool> done{false}, whole{false};
    const auto id = loop.Submit(Greedy({4, 5, 6}, 5), [&](const TokenEvent& event) {
      if (event.is_final) {
        whole = event.finish_reason == FinishReason::kLength;
        done = true;
      }
    });
    if (id.ok()) {
      while (!done && std::chrono::steady_clock::now() < end) std::this_thread::yield();
      EXPECT_TRUE(done) << first;
      if (StopFailing() == 0) {
        EXPECT_TRUE(whole) << first;
      }
    }
  }
  for (int i = 0; i < kRequests; ++i) {
    EXPECT_EQ(finals[i], accepted[i] ? 1 : 0) << "request " << i << ", allocation " << first;
  }
  StopOrExit(loop, first);
  tally.failed = StopFailing();
  for (int i = 0; i < kRequests; ++i) {
    if (!accepted[i]) continue;
    if (failed[i]) {
      ++tally.ended_with_errors;
    } else {
      ++tally.right;
      EXPECT_EQ(tokens[i], (6 + i) * (i % 3 == 0 ? 2 : 1)) << i << ", allocation " << first;
    }
  }
  return tally;
}

void PlayAll(int64_t count) {
  int64_t first = 1, rounds = 0, dead = 0, errors = 0;
  // Every one at first, then ever fewer of the steps that are like those before.
  for (;; first += 1 + first / 40, ++rounds) {
    const Tally tally = Play(first, count);
    dead += tally.dead ? 1 : 0;
    errors += tally.ended_with_errors;
    if (tally.failed == 0 || ::testing::Test::HasFailure()) break;
  }
  EXPECT_GT(rounds, 50);
  EXPECT_GT(errors, rounds);
  std::printf("allocations failed: %lld, from 1 to %lld; %lld times the engine was dead\n",
              static_cast<long long>(rounds), static_cast<long long>(first),
              static_cast<long long>(dead));
}

TEST(NoMemory, OneAllocationFails_EveryRequestEndsOnce) {
  if (!rill::testing::kAllocationsFail) GTEST_SKIP() << "a sanitizer allocates";
  PlayAll(1);
}

TEST(NoMemory, TwentyAllocationsFail_EveryRequestEndsOnce) {
  if (!rill::testing::kAllocationsFail) GTEST_SKIP() << "a sanitizer allocates";
  PlayAll(20);
}

}  // namespace
}  // namespace rill::engine
