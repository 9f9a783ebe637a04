#include "engine/engine_loop.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <ctime>
#include <future>
#include <utility>

#include "engine/engine_test_util.h"

namespace rill::engine {
namespace {

using namespace std::chrono_literals;
using testing::Greedy;
using testing::GreedyChain;
using testing::SmallRunner;

std::unique_ptr<Engine> MakeEngine(StepRunner& runner, EngineOptions options = {}) {
  auto engine = Engine::Create(options, runner);
  EXPECT_TRUE(engine.ok());
  return std::move(engine).value();
}

// Reads until the final event.
std::vector<int32_t> ReadAll(EventQueue& queue, FinishReason* finish = nullptr) {
  std::vector<int32_t> tokens;
  while (auto event = queue.Pop(20s)) {
    if (event->token_id >= 0) tokens.push_back(event->token_id);
    if (finish) *finish = event->finish_reason;
    if (event->is_final) return tokens;
  }
  ADD_FAILURE() << "no final event";
  return tokens;
}

// Its own callback is the earliest that anyone can learn of a request's end.
TEST(EngineLoop, FinalEvent_IsCountedInStatsWhenItArrives) {
  HashRunner runner(SmallRunner());
  EngineLoop loop(MakeEngine(runner));
  for (const bool cancel : {false, true}) {
    std::promise<EngineStats> at_end;
    const auto id = loop.Submit(Greedy({1, 2, 3}, cancel ? 40 : 5), [&](const TokenEvent& event) {
      if (cancel && event.index == 0) loop.Cancel(event.request_id);
      if (event.is_final) at_end.set_value(loop.stats());
    });
    ASSERT_TRUE(id.ok()) << id.status().ToString();
    const EngineStats stats = at_end.get_future().get();
    EXPECT_EQ(stats.used_pages, 0);
    EXPECT_EQ(stats.running_requests, 0);
    EXPECT_EQ(stats.finished_requests, cancel ? 2 : 1);
    EXPECT_EQ(stats.cancelled_requests, cancel ? 1 : 0);
  }
}

// Who collects events in the callbacks loses none, and hands on those of a step together.
TEST(EngineLoop, AfterEvents_ComesOncePerStepAndAfterItsLastEvent) {
  HashRunner runner(SmallRunner());
  EngineLoop loop(MakeEngine(runner));
  std::vector<TokenEvent> collected;  // of a step; the loop's thread alone uses it
  std::vector<size_t> batches;
  std::promise<void> all_ended;
  int32_t ended = 0;
  loop.SetAfterEvents([&] {
    batches.push_back(collected.size());
    for (const TokenEvent& event : collected) ended += event.is_final;
    collected.clear();
    if (ended == 8) all_ended.set_value();
  });
  GenerateRequest request = Greedy({1, 2, 3}, 4);
  request.n = 4;
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(
        loop.Submit(request, [&](const TokenEvent& event) { collected.push_back(event); }).ok());
  }
  ASSERT_EQ(all_ended.get_future().wait_for(20s), std::future_status::ready);
  loop.SetAfterEvents(nullptr);
  EXPECT_GE(*std::max_element(batches.begin(), batches.end()), 4u);  // n choices run together
  const auto told = batches.size();
  auto queue = std::make_shared<EventQueue>(64);
  ASSERT_TRUE(loop.Submit(Greedy({1}, 2), queue).ok());
  ReadAll(*queue);
  EXPECT_EQ(batches.size(), told);  // nobody is told any more
}

TEST(EngineLoop, ManyThreads_EachGetsItsOwnChain) {
  HashRunner runner(SmallRunner());
  EngineLoop loop(MakeEngine(runner));
  std::vector<std::thread> threads;
  std::atomic<int> right{0}, cancelled{0};
  for (int32_t t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      for (int32_t i = 0; i < 40; ++i) {
        const std::vector<int32_t> prompt = {t, i, 3};
        auto queue = std::make_shared<EventQueue>(64);
        const auto id = loop.Submit(Greedy(prompt, 12), queue);
        ASSERT_TRUE(id.ok()) << id.status().ToString();
        if (i % 5 == 4) loop.Cancel(*id);
        FinishReason finish{};
        const auto tokens = ReadAll(*queue, &finish);
        const auto expected = GreedyChain(prompt, static_cast<int32_t>(tokens.size()), 61);
        if (tokens == expected && finish == FinishReason::kLength) ++right;
        if (tokens == expected && finish == FinishReason::kCancelled) ++cancelled;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(right + cancelled, 6 * 40);
  EXPECT_GE(right, 6 * 32);
  loop.Stop(true);
  EXPECT_EQ(loop.stats().used_pages, 0);
  EXPECT_EQ(loop.stats().finished_requests, 6 * 40);
}

TEST(EngineLoop, SlowReader_IsCutAndOthersGoOn) {
  HashRunner runner(SmallRunner());
  EngineLoop loop(MakeEngine(runner));
  auto slow = std::make_shared<EventQueue>(5);
  auto fast = std::make_shared<EventQueue>(1000);
  ASSERT_TRUE(loop.Submit(Greedy({1}, 60), slow).ok());
  ASSERT_TRUE(loop.Submit(Greedy({2}, 60), fast).ok());
  EXPECT_EQ(ReadAll(*fast), GreedyChain({2}, 60, 61));
  loop.Stop(true);
  FinishReason finish{};
  EXPECT_EQ(ReadAll(*slow, &finish), GreedyChain({1}, 5, 61));
  EXPECT_EQ(finish, FinishReason::kCancelled);
}

TEST(EngineLoop, StopWithoutDrain_EndsEachRequestOnce) {
  HashRunner runner(SmallRunner());
  std::atomic<int> finals{0};
  {
    EngineLoop loop(MakeEngine(runner));
    for (int32_t i = 0; i < 100; ++i) {
      ASSERT_TRUE(loop.Submit(Greedy({1, i % 60}, 100),
                              [&](const TokenEvent& event) { finals += event.is_final ? 1 : 0; })
                      .ok());
    }
  }
  EXPECT_EQ(finals, 100);
}

TEST(EngineLoop, StopWithDrain_FinishesWhatWasAccepted) {
  HashRunner runner(SmallRunner());
  EngineLoop loop(MakeEngine(runner));
  std::vector<std::shared_ptr<EventQueue>> queues;
  for (int32_t i = 0; i < 50; ++i) {
    queues.push_back(std::make_shared<EventQueue>(100));
    ASSERT_TRUE(loop.Submit(Greedy({i}, 20), queues.back()).ok());
  }
  loop.Stop(true);
  for (int32_t i = 0; i < 50; ++i) {
    EXPECT_EQ(ReadAll(*queues[static_cast<size_t>(i)]), GreedyChain({i}, 20, 61));
  }
  EXPECT_EQ(loop.Submit(Greedy({1}, 1), EventCallback()).status().code(), StatusCode::kUnavailable);
}

TEST(EngineLoop, FullQueue_RefusesAtOnce) {
  HashRunner runner(SmallRunner());
  std::atomic<bool> hold{true};
  runner.before_run = [&](const StepPlan&) {
    while (hold) std::this_thread::sleep_for(1ms);
    return OkStatus();
  };
  EngineLoop loop(MakeEngine(runner, {.max_choices = 1, .max_waiting = 3}));
  int accepted = 0;
  Status refusal;
  for (int32_t i = 0; i < 20; ++i) {
    const auto id = loop.Submit(Greedy({i}, 3), EventCallback());
    if (id.ok()) {
      ++accepted;
    } else {
      refusal = id.status();
    }
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_EQ(refusal.code(), StatusCode::kUnavailable);
  EXPECT_EQ(refusal.message(), "3 requests are waiting, the limit is 3");
  EXPECT_LE(accepted, 4);
  hold = false;
  loop.Stop(true);
  EXPECT_EQ(loop.stats().finished_requests, accepted);
  EXPECT_EQ(loop.stats().refused_requests, 20 - accepted);
}

// A request that came while the device was being lost is told of by the loop, not by the engine.
TEST(EngineLoop, AfterEvents_ComesAfterAnEndThatTheLoopTold) {
  HashRunner runner(SmallRunner());
  runner.recovery = Internal("the device is lost");
  EngineLoop* running = nullptr;
  int32_t collected = 0;  // used by the loop's thread alone
  std::promise<int32_t> told;
  const EventCallback collect = [&](const TokenEvent& event) { collected += event.is_final; };
  runner.before_run = [&](const StepPlan&) {
    EXPECT_TRUE(running->Submit(Greedy({2}, 5), collect).ok());  // not known to be dead yet
    return Internal("illegal address");
  };
  EngineLoop loop(MakeEngine(runner));
  running = &loop;
  loop.SetAfterEvents([&] {
    if (collected == 2) told.set_value(std::exchange(collected, 0));
  });
  ASSERT_TRUE(loop.Submit(Greedy({1}, 5), collect).ok());
  EXPECT_EQ(told.get_future().wait_for(20s), std::future_status::ready);
  loop.SetAfterEvents(nullptr);
}

// A burst is told of before a step has seen it: each more waits for one more turn.
TEST(EngineLoop, WaitOfABurst_CountsWhatCameSinceTheLastStep) {
  HashRunner runner(SmallRunner());
  std::atomic<bool> hold = false;
  runner.before_run = [&](const StepPlan&) {
    std::this_thread::sleep_for(1ms);
    while (hold) std::this_thread::sleep_for(1ms);
    return OkStatus();
  };
  EngineLoop loop(MakeEngine(runner, {.max_choices = 1, .max_waiting = 100}));
  auto queue = std::make_shared<EventQueue>(400);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(loop.Submit(Greedy({1}, 100), queue).ok());
    ReadAll(*queue);
  }
  EXPECT_EQ(loop.stats().estimated_wait_ms, 0);  // idle
  hold = true;
  std::vector<double> waits;
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(loop.Submit(Greedy({1}, 100), std::make_shared<EventQueue>(400)).ok());
    waits.push_back(loop.stats().estimated_wait_ms);
  }
  EXPECT_GT(waits[19], 10 * 100.0);  // 100 steps of 1 ms each at least
  EXPECT_GT(waits[19], 1.5 * waits[9]);
  hold = false;
  loop.Stop(false);
}

// Nothing runs, or was ever timed: lengths and step times are known all the same. Compared with
// the steps that it took, at what a step was known to take: a busy machine makes them longer later.
TEST(EngineLoop, WaitOfABurst_IsRightWhereNothingRuns) {
  for (const bool is_cold : {true, false}) {
    HashRunner runner(SmallRunner());
    std::atomic<bool> hold = false;
    std::atomic<int> num_steps = 0;
    std::atomic<int64_t> slept_us = 0;
    runner.before_run = [&](const StepPlan&) {
      const Clock::time_point begin = Clock::now();
      std::this_thread::sleep_for(10ms);
      slept_us +=
          std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin).count();
      ++num_steps;
      while (hold) std::this_thread::sleep_for(1ms);
      return OkStatus();
    };
    // One decode is guessed to take a fifth of it.
    EngineLoop loop(MakeEngine(
        runner,
        {.max_choices = 4, .max_waiting = 100, .step_hint = {.prompt_tokens = 48, .ms = 50}}));
    auto queue = std::make_shared<EventQueue>(4000);
    if (!is_cold) {
      ASSERT_TRUE(loop.Submit(Greedy({1}, 25), queue).ok());
      ReadAll(*queue);
    }
    const double step_ms =
        is_cold ? 10 : static_cast<double>(slept_us) / 1000 / static_cast<double>(num_steps);
    hold = true;
    const ArrivalLoad upstream = loop.LoadOf("", "", 25, 1, 1);
    for (int i = 0; i < 11; ++i) {
      ASSERT_TRUE(loop.Submit(Greedy({1}, 25), [](const TokenEvent&) {}).ok());
    }
    for (int i = 0; i < 3; ++i) loop.BeginUpstream(upstream);
    const double told_ms = loop.stats().estimated_wait_ms;
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(loop.Submit(Greedy({1}, 25), [](const TokenEvent&) {}).ok());
      loop.EndUpstream(upstream);
    }
    num_steps = 0;
    hold = false;
    std::promise<void> first;
    ASSERT_TRUE(loop.Submit(Greedy({1}, 1),
                            [&](const TokenEvent& event) {
                              if (event.is_final) first.set_value();
                            })
                    .ok());
    first.get_future().wait();
    const double took_ms = num_steps * step_ms;
    EXPECT_GT(told_ms, took_ms / 2) << is_cold;
    EXPECT_LT(told_ms, took_ms * 2) << is_cold;
  }
}

// Nobody is waited for any more, however they ended.
TEST(EngineLoop, WaitOfNobody_IsZero) {
  HashRunner runner(SmallRunner());
  runner.before_run = [](const StepPlan&) {
    std::this_thread::sleep_for(2ms);
    return OkStatus();
  };
  EngineLoop loop(MakeEngine(runner, {.max_choices = 1, .max_waiting = 100}));
  std::vector<RequestId> ids;
  for (int i = 0; i < 20; ++i) {
    ids.push_back(*loop.Submit(Greedy({1}, 100), [](const TokenEvent&) {}));
  }
  const Clock::time_point end = Clock::now() + 20s;
  while (loop.stats().estimated_wait_ms <= 100 && Clock::now() < end) {
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_GT(loop.stats().estimated_wait_ms, 100);
  for (const RequestId id : ids) loop.Cancel(id);
  while (loop.stats().waiting_requests + loop.stats().running_requests > 0) {
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_EQ(loop.stats().estimated_wait_ms, 0);
}

TEST(EngineLoop, LostDevice_EndsEveryRequestAndRefusesNewOnes) {
  HashRunner runner(SmallRunner());
  runner.recovery = Internal("the device is lost");
  runner.before_run = [](const StepPlan& plan) {
    return plan.step < 3 ? OkStatus() : Internal("illegal address");
  };
  EngineLoop loop(MakeEngine(runner));
  auto queue = std::make_shared<EventQueue>(100);
  ASSERT_TRUE(loop.Submit(Greedy({1}, 50), queue).ok());
  FinishReason finish{};
  ReadAll(*queue, &finish);
  EXPECT_EQ(finish, FinishReason::kError);
  while (!loop.stats().dead) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(loop.Submit(Greedy({1}, 1), EventCallback()).status().code(), StatusCode::kUnavailable);
}

TEST(EngineLoop, StepThatHangs_ShowsForTheWatchdog) {
  HashRunner runner(SmallRunner());
  std::atomic<bool> hold{true};
  runner.before_run = [&](const StepPlan&) {
    while (hold) std::this_thread::sleep_for(1ms);
    return OkStatus();
  };
  EngineLoop loop(MakeEngine(runner));
  EXPECT_EQ(loop.current_step_ms(), 0);
  auto queue = std::make_shared<EventQueue>(100);
  ASSERT_TRUE(loop.Submit(Greedy({1}, 2), queue).ok());
  std::this_thread::sleep_for(60ms);
  EXPECT_GT(loop.current_step_ms(), 30);
  hold = false;
  ReadAll(*queue);
  loop.Stop(true);
  EXPECT_EQ(loop.current_step_ms(), 0);
}

TEST(EngineLoop, SleepWhileTextIsOnItsWay_IsCountedAsStarved) {
  HashRunner runner(SmallRunner());
  EngineLoop loop(MakeEngine(runner));
  std::this_thread::sleep_for(40ms);
  EXPECT_EQ(loop.stats().starved_ms, 0);
  loop.BeginUpstream({});
  std::this_thread::sleep_for(40ms);
  loop.EndUpstream({});
  const double starved_ms = loop.stats().starved_ms;
  EXPECT_GE(starved_ms, 35);
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(loop.stats().starved_ms, starved_ms);
  EXPECT_GT(loop.stats().idle_ms, starved_ms);
}

TEST(EngineLoop, Idle_UsesNoCpu) {
  HashRunner runner(SmallRunner());
  EngineLoop loop(MakeEngine(runner));
  auto queue = std::make_shared<EventQueue>(100);
  ASSERT_TRUE(loop.Submit(Greedy({1}, 5), queue).ok());
  ReadAll(*queue);
  const std::clock_t begin = std::clock();
  std::this_thread::sleep_for(200ms);
  EXPECT_LT(static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC, 0.05);
}

}  // namespace
}  // namespace rill::engine
