// Admission, fairness, deadlines, chunk sizes and forecasts, on a simulated clock.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "engine/engine.h"
#include "engine/engine_test_util.h"

namespace rill::engine {
namespace {

using namespace std::chrono_literals;
using testing::Greedy;
using testing::GreedyChain;
using testing::Recorder;
using testing::SmallRunner;

// An engine whose steps take the time that a formula says.
class SchedulingTest : public ::testing::Test {
 protected:
  void Start(EngineOptions options, const RunnerInfo& info) {
    engine_.reset();
    runner_ = std::make_unique<HashRunner>(info);
    runner_->before_run = [this](const StepPlan& plan) {
      last_step_ms_ = 1.0 + 0.1 * plan.size.prefill_tokens + 0.2 * plan.size.decodes +
                      1e-5 * plan.size.kv_reads;
      now_ += std::chrono::microseconds(static_cast<int64_t>(last_step_ms_ * 1000));
      return OkStatus();
    };
    options.now = [this] { return now_; };
    auto engine = Engine::Create(options, *runner_);
    ASSERT_TRUE(engine.ok()) << engine.status().ToString();
    engine_ = std::move(engine).value();
  }
  void Drain() {
    while (engine_->HasWork()) {
      ASSERT_TRUE(engine_->Step().ok());
      ASSERT_TRUE(engine_->CheckIntegrity().ok()) << engine_->CheckIntegrity().ToString();
    }
  }
  double NowMs() const {
    return std::chrono::duration<double, std::milli>(now_.time_since_epoch()).count();
  }
  double WaitMs() const { return engine_->scheduler().ForecastWait(now_).wait_ms; }

  Clock::time_point now_ = Clock::time_point() + 1h;
  double last_step_ms_ = 0;
  std::unique_ptr<HashRunner> runner_;
  std::unique_ptr<Engine> engine_;
};

// Says the same length always.
class ConstantPredictor : public LengthPredictor {
 public:
  explicit ConstantPredictor(int32_t tokens) : tokens_(tokens) {}
  LengthForecast Predict(const LengthQuery& query) const override {
    const int32_t tokens = std::max(query.generated + 1, tokens_);
    return {tokens, static_cast<double>(tokens)};
  }
  void Observe(const LengthQuery&, bool) override {}

 private:
  const int32_t tokens_;
};

TEST_F(SchedulingTest, PredictedLengths_LetMoreRunAtOnceThanTheWorstCase) {
  RunnerInfo info = SmallRunner();
  info.num_pages = 64;  // 256 positions
  std::map<bool, int32_t> most;
  for (const bool predict : {true, false}) {
    Start({.predict_lengths = predict, .predictor = std::make_shared<ConstantPredictor>(8)}, info);
    const int32_t chain_end = GreedyChain({1, 2}, 8, 61)[7];
    for (int32_t i = 0; i < 16; ++i) {
      GenerateRequest request = Greedy({1, 2}, 100);  // 26 pages at the most, 3 as predicted
      request.sampling.stop_ids = {chain_end};
      ASSERT_TRUE(engine_->Submit(request, nullptr).ok());
    }
    while (engine_->HasWork()) {
      ASSERT_TRUE(engine_->Step().ok());
      most[predict] = std::max(most[predict], engine_->stats().running_choices);
    }
  }
  EXPECT_EQ(most[false], 2);
  EXPECT_GE(most[true], 10);
}

TEST_F(SchedulingTest, PredictionsThatAreAllTooShort_PauseSomeAndAllFinish) {
  RunnerInfo info = SmallRunner();
  info.num_pages = 32;
  Start({.predictor = std::make_shared<ConstantPredictor>(2)}, info);
  std::vector<Recorder> recorders(16);
  for (int32_t i = 0; i < 16; ++i) {
    ASSERT_TRUE(
        engine_->Submit(Greedy({i}, 100), recorders[static_cast<size_t>(i)].Callback()).ok());
  }
  bool paused = false;
  while (engine_->HasWork()) {
    ASSERT_TRUE(engine_->Step().ok());
    ASSERT_FALSE(engine_->last_plan().empty());
    ASSERT_TRUE(engine_->CheckIntegrity().ok()) << engine_->CheckIntegrity().ToString();
    const bool pauses = engine_->stats().paused_choices > 0;
    if (pauses) {
      EXPECT_TRUE(engine_->last_admissions().empty());
    }
    paused = paused || pauses;
  }
  EXPECT_TRUE(paused);
  for (int32_t i = 0; i < 16; ++i) {
    EXPECT_EQ(recorders[static_cast<size_t>(i)].tokens[0], GreedyChain({i}, 100, 61));
  }
}

// Pages that several requests share are nobody's own: they do not come back at the end of any one
// of them. Admitting by forecast alone a request that needs the whole pool would leave a state in
// which no page can be granted to anybody: every choice pauses, for good. All small mixes of
// requests that share a prompt with one that needs (almost) the whole pool.
//
// The forecast lets it in when it predicts the large one to end first.
class FavoursShortPrompts : public LengthPredictor {
 public:
  LengthForecast Predict(const LengthQuery& query) const override {
    const int32_t tokens = query.prompt_ids.size() == 1 ? query.generated + 1 : query.max_tokens;
    return {tokens, static_cast<double>(tokens)};
  }
  void Observe(const LengthQuery&, bool) override {}
};

TEST_F(SchedulingTest, SharedPromptsAndARequestAsLargeAsThePool_AllFinish) {
  RunnerInfo info = SmallRunner();
  info.num_pages = 16;  // of 4 positions
  int mixes = 0, waited = 0;
  for (int32_t sharers = 2; sharers <= 4; ++sharers) {
    for (int32_t shared_pages = 1; shared_pages <= 4; ++shared_pages) {
      for (int32_t answer = 4; answer <= 20; answer += 4) {
        for (int32_t large_pages = 12; large_pages <= 16; ++large_pages) {
          Start({.predictor = std::make_shared<FavoursShortPrompts>()}, info);
          std::vector<int32_t> prompt(static_cast<size_t>(4 * shared_pages + 1), 7);
          std::vector<Recorder> recorders(static_cast<size_t>(sharers));
          for (Recorder& recorder : recorders) {
            ASSERT_TRUE(engine_->Submit(Greedy(prompt, answer), recorder.Callback()).ok());
            // The next one finds this one's prompt.
            ASSERT_TRUE(engine_->Step().ok());
            ASSERT_TRUE(engine_->Step().ok());
          }
          Recorder large;
          ASSERT_TRUE(engine_->Submit(Greedy({3}, 4 * large_pages - 1), large.Callback()).ok());
          ++mixes;
          bool had_to_wait = false;
          while (engine_->HasWork()) {
            ASSERT_TRUE(engine_->Step().ok());
            ASSERT_TRUE(engine_->CheckIntegrity().ok())
                << sharers << " share " << shared_pages << " pages, answers of " << answer
                << ", then " << large_pages << " pages: " << engine_->CheckIntegrity().ToString();
            ASSERT_FALSE(engine_->last_plan().empty());
            had_to_wait = had_to_wait || engine_->stats().waiting_requests > 0;
          }
          waited += had_to_wait ? 1 : 0;
          for (const Recorder& recorder : recorders) {
            EXPECT_EQ(recorder.tokens.at(0), GreedyChain(prompt, answer, 61));
          }
          EXPECT_EQ(large.tokens[0], GreedyChain({3}, 4 * large_pages - 1, 61));
        }
      }
    }
  }
  EXPECT_EQ(mixes, 300);
  EXPECT_GT(waited, 50);
}

TEST_F(SchedulingTest, FloodOfOneTenant_LeavesTheOtherItsShare) {
  Start({.max_choices = 4}, SmallRunner());
  std::map<std::string, int64_t> tokens;
  std::vector<std::string> admitted;
  const auto submit = [&](const std::string& tenant, int32_t prompt_tokens, int32_t max_tokens) {
    GenerateRequest request =
        Greedy(std::vector<int32_t>(static_cast<size_t>(prompt_tokens), 3), max_tokens);
    request.tenant = tenant;
    request.cache_salt = std::to_string(tokens.size() + admitted.size());
    ASSERT_TRUE(engine_
                    ->Submit(request,
                             [&tokens, tenant](const TokenEvent& event) {
                               tokens[tenant] += event.token_id >= 0 ? 1 : 0;
                             })
                    .ok());
  };
  for (int i = 0; i < 300; ++i) submit("flood", 10, 30);
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(engine_->Step().ok());
  // One who comes later with small requests: while both wait, both get the same.
  for (int i = 0; i < 100; ++i) submit("late", 5, 10);
  const std::map<std::string, int64_t> before = tokens;
  const auto service = [&](const std::string& tenant) {
    return engine_->scheduler().queue().ServiceOf(tenant);
  };
  const int64_t flood_before = service("flood"), late_before = service("late");
  for (int i = 0; i < 400; ++i) ASSERT_TRUE(engine_->Step().ok());
  const int64_t flood = service("flood") - flood_before, late = service("late") - late_before;
  EXPECT_GT(flood, 400);
  // Apart by no more than what can be in flight: 4 requests of 40 tokens on either side.
  EXPECT_NEAR(static_cast<double>(flood), static_cast<double>(late), 2 * 4 * 40);
  EXPECT_GT(tokens["late"], 0);
}

TEST_F(SchedulingTest, OneLateRequest_DoesNotWaitBehindTheFlood) {
  Start({.max_choices = 4}, SmallRunner());
  std::vector<std::string> order;
  const auto submit = [&](const std::string& tenant) {
    GenerateRequest request = Greedy({1, 2, 3}, 20);
    request.tenant = tenant;
    ASSERT_TRUE(engine_
                    ->Submit(request,
                             [&order, tenant](const TokenEvent& event) {
                               if (event.is_final) order.push_back(tenant);
                             })
                    .ok());
  };
  for (int i = 0; i < 200; ++i) submit("flood");
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(engine_->Step().ok());
  submit("late");
  Drain();
  const auto place = std::find(order.begin(), order.end(), "late") - order.begin();
  EXPECT_LE(place, 12);
}

// A tenant's priorities order its own requests: those of others have their turns as before.
TEST_F(SchedulingTest, PrioritiesOfOneTenant_TakeNothingFromAnother) {
  for (const bool high : {false, true}) {
    Start({.max_choices = 4}, SmallRunner());
    std::vector<std::string> order;
    const auto submit = [&](const std::string& tenant, int32_t priority) {
      GenerateRequest request = Greedy({1, 2, 3}, 20);
      request.tenant = tenant;
      request.priority = priority;
      const std::string name = tenant + std::to_string(priority);
      ASSERT_TRUE(engine_
                      ->Submit(request,
                               [&order, name](const TokenEvent& event) {
                                 if (event.is_final) order.push_back(name);
                               })
                      .ok());
    };
    for (int i = 0; i < 200; ++i) submit("flood", high ? 1'000'000 : -1'000'000);
    for (int i = 0; i < 30; ++i) ASSERT_TRUE(engine_->Step().ok());
    submit("late", 0);
    submit("late", 7);
    Drain();
    const auto place = [&](const std::string& name) {
      return std::find(order.begin(), order.end(), name) - order.begin();
    };
    EXPECT_LE(place("late7"), 12);
    EXPECT_LE(place("late0"), 20);
    EXPECT_LT(place("late7"), place("late0"));
  }
}

TEST_F(SchedulingTest, Weights_AreTheSharesOfThoseWhoWait) {
  Start({.max_choices = 4}, SmallRunner());
  std::map<double, int64_t> tokens;
  for (int i = 0; i < 300; ++i) {
    for (const double weight : {0.5, 1.0, 4.0}) {
      GenerateRequest request = Greedy({1, 2, i % 61}, 12);
      request.tenant = std::to_string(weight);
      request.weight = weight;
      ASSERT_TRUE(engine_
                      ->Submit(request,
                               [&tokens, weight](const TokenEvent& event) {
                                 tokens[weight] += event.token_id >= 0 ? 1 : 0;
                               })
                      .ok());
    }
  }
  for (int i = 0; i < 900; ++i) ASSERT_TRUE(engine_->Step().ok());
  EXPECT_GT(tokens[0.5], 200);
  const auto ratio = [&](double a, double b) {
    return static_cast<double>(tokens[a]) / static_cast<double>(tokens[b]);
  };
  EXPECT_NEAR(ratio(1.0, 0.5), 2, 0.3);
  EXPECT_NEAR(ratio(4.0, 1.0), 4, 0.6);
  GenerateRequest request = Greedy({1}, 1);
  for (const double bad : {0.0, -1.0, 1e9, std::nan("")}) {
    request.weight = bad;
    EXPECT_EQ(engine_->Validate(request).code(), StatusCode::kInvalidArgument) << bad;
  }
}

TEST_F(SchedulingTest, Deadlines_EndWaitingAndRunningRequests) {
  Start({.max_choices = 1, .queue_timeout_ms = 50}, SmallRunner());
  Recorder runs, waits, limited;
  GenerateRequest request = Greedy({1}, 200);
  request.total_timeout_ms = 100;
  ASSERT_TRUE(engine_->Submit(request, runs.Callback()).ok());
  ASSERT_TRUE(engine_->Step().ok());
  ASSERT_TRUE(engine_->Submit(Greedy({2}, 10), waits.Callback()).ok());
  request = Greedy({3}, 10);
  request.queue_timeout_ms = 20;
  ASSERT_TRUE(engine_->Submit(request, limited.Callback()).ok());
  const double begin = NowMs();
  std::map<RequestId, double> ended;
  while (engine_->HasWork()) {
    ASSERT_TRUE(engine_->Step().ok());
    if (limited.finals == 1) ended.emplace(3, NowMs() - begin);
    if (waits.finals == 1) ended.emplace(2, NowMs() - begin);
    if (runs.finals == 1) ended.emplace(1, NowMs() - begin);
  }
  EXPECT_NEAR(ended[3], 20, 4);
  EXPECT_NEAR(ended[2], 50, 4);
  EXPECT_NEAR(ended[1], 100, 6);
  EXPECT_EQ(waits.error.code(), StatusCode::kUnavailable);
  EXPECT_EQ(runs.error.code(), StatusCode::kResourceExhausted);
  EXPECT_GT(runs.tokens[0].size(), 10u);
  EXPECT_EQ(engine_->stats().expired_requests, 3);
  EXPECT_EQ(engine_->stats().used_pages, 0);
}

TEST_F(SchedulingTest, LongPrompt_DoesNotStallRunningStreamsBeyondTheTarget) {
  RunnerInfo info = SmallRunner();
  info.max_context = 8192;
  info.num_pages = 4096;
  info.max_step_tokens = 512;
  info.max_step_rows = 64;
  for (const double target_ms : {0.0, 15.0}) {
    Start({.itl_target_ms = target_ms}, info);
    std::vector<Recorder> streams(8);
    for (int32_t i = 0; i < 8; ++i) {
      ASSERT_TRUE(
          engine_->Submit(Greedy({i, 1}, 300), streams[static_cast<size_t>(i)].Callback()).ok());
    }
    for (int i = 0; i < 40; ++i) ASSERT_TRUE(engine_->Step().ok());
    std::vector<int32_t> prompt(4000);
    for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<int32_t>(i % 61);
    Recorder late;
    ASSERT_TRUE(engine_->Submit(Greedy(prompt, 4), late.Callback()).ok());
    std::vector<double> times;
    while (late.tokens[0].empty()) {
      ASSERT_TRUE(engine_->Step().ok());
      EXPECT_GE(engine_->last_plan().num_decodes, 8);
      times.push_back(last_step_ms_);
    }
    std::sort(times.begin(), times.end());
    const double p99 = times[times.size() * 99 / 100];
    if (target_ms == 0) {
      EXPECT_GT(p99, 50);
    } else {
      EXPECT_LE(p99, target_ms * 1.05);
      // And not by crawling: the room is used.
      EXPECT_GT(times[times.size() / 2], target_ms * 0.6);
    }
    Drain();
    EXPECT_EQ(late.tokens[0], GreedyChain(prompt, 4, 61));
    EXPECT_EQ(streams[3].tokens[0], GreedyChain({3, 1}, 300, 61));
  }
}

// Where decodes alone take longer than the target, prompts get a fifth of the step and no crumbs.
TEST_F(SchedulingTest, TargetThatDecodesAloneMiss_LetsPromptsGetOn) {
  RunnerInfo info = SmallRunner();
  info.max_context = 4096;
  info.num_pages = 65536;
  info.max_step_tokens = 512;
  info.max_step_rows = 256;
  Start({.itl_target_ms = 2}, info);
  for (int32_t i = 0; i < 200; ++i) {
    ASSERT_TRUE(engine_->Submit(Greedy({i % 61, 1}, 600), nullptr).ok());
  }
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(engine_->Step().ok());
  const double alone_ms = last_step_ms_;
  EXPECT_GT(alone_ms, 40);
  Recorder late;
  ASSERT_TRUE(engine_->Submit(Greedy(std::vector<int32_t>(2000, 5), 1), late.Callback()).ok());
  int steps = 0, too_long = 0;
  for (; late.tokens[0].empty(); ++steps) {
    ASSERT_TRUE(engine_->Step().ok());
    too_long += last_step_ms_ > alone_ms * 1.25 * 1.1 ? 1 : 0;
  }
  EXPECT_LE(too_long, 2);  // until it has seen what a long chunk costs
  EXPECT_GE(steps, 10);
  EXPECT_LE(steps, 2000 / 60);
}

// Nobody runs or waits longer than he may, so a forecast is not longer either.
TEST_F(SchedulingTest, ForecastOfTheWait_KnowsDeadlines) {
  Start({.max_choices = 1}, SmallRunner());
  GenerateRequest request = Greedy({1}, 200);
  request.total_timeout_ms = 60;
  ASSERT_TRUE(engine_->Submit(request, nullptr).ok());
  const double begin = NowMs();
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(engine_->Step().ok());
  request.total_timeout_ms = 0;
  for (const int64_t queue_ms : {40, 40, 1'000'000}) {  // the first two never run
    request.queue_timeout_ms = queue_ms;
    request.sampling.max_tokens = 5;
    ASSERT_TRUE(engine_->Submit(request, nullptr).ok());
  }
  const double wait_ms = WaitMs();
  EXPECT_NEAR(NowMs() - begin + wait_ms, 60, 20);
  Recorder probe;
  ASSERT_TRUE(engine_->Submit(Greedy({4}, 1), probe.Callback()).ok());
  const double submitted = NowMs();
  while (probe.tokens[0].empty()) ASSERT_TRUE(engine_->Step().ok());
  EXPECT_LT(NowMs() - submitted, 2 * wait_ms);
  EXPECT_GT(NowMs() - submitted, wait_ms / 2);
}

// What Retry-After says: within a factor of two of what it comes to, for nine in ten.
TEST_F(SchedulingTest, ForecastOfTheWait_IsWithinAFactorOfTwo) {
  RunnerInfo info = SmallRunner();
  info.max_context = 1024;
  info.page_size = 16;
  info.num_pages = 400;
  info.max_step_tokens = 128;
  info.max_step_rows = 64;
  int within = 0, judged = 0;
  for (uint32_t seed = 1; seed <= 4; ++seed) {
    // Half of the histories are bound by places, half by pages.
    Start({.max_choices = seed % 2 ? 16 : 64, .max_waiting = 200}, info);
    std::mt19937 random(seed);
    std::lognormal_distribution<double> prompts(4.5, 0.8), lengths(4.0, 0.8);
    std::exponential_distribution<double> gaps(1.0);
    struct Probe {
      double forecast_ms = 0;
      double waited_ms = 0;
    };
    std::vector<std::shared_ptr<Probe>> probes;
    // Bursts, so that there is a queue of any length, also an empty one.
    for (int burst = 0; burst < 12; ++burst) {
      const int size = 10 + static_cast<int>(random() % 120);
      for (int i = 0; i < size; ++i) {
        GenerateRequest request = Greedy(
            std::vector<int32_t>(std::clamp<size_t>(static_cast<size_t>(prompts(random)), 1, 500),
                                 static_cast<int32_t>(random() % 61)),
            500);
        request.prompt_ids[0] = static_cast<int32_t>(random() % 61);
        request.cache_salt = std::to_string(random());
        // Ends where a drawn length says.
        const int32_t length = std::clamp(static_cast<int32_t>(lengths(random)), 1, 499);
        auto probe = std::make_shared<Probe>();
        probe->forecast_ms = WaitMs();
        probes.push_back(probe);
        ASSERT_TRUE(engine_
                        ->Submit(request,
                                 [this, probe, length](const TokenEvent& event) {
                                   if (event.is_final) probe->waited_ms = event.usage.queue_ms;
                                   if (event.index + 1 == length)
                                     engine_->Cancel(event.request_id, 0);
                                 })
                        .ok());
      }
      const int steps = static_cast<int>(random() % 1500);
      for (int i = 0; i < steps && engine_->HasWork(); ++i) ASSERT_TRUE(engine_->Step().ok());
      if (engine_->scheduler().num_waiting() > 60) {
        while (engine_->scheduler().num_waiting() > 20) ASSERT_TRUE(engine_->Step().ok());
      }
    }
    while (engine_->HasWork()) ASSERT_TRUE(engine_->Step().ok());
    // The first ones teach it lengths and step times; what does not wait is not asked for.
    for (size_t i = 100; i < probes.size(); ++i) {
      const Probe& probe = *probes[i];
      if (probe.waited_ms < 1000) continue;  // Retry-After counts seconds
      ++judged;
      const double ratio = probe.forecast_ms / probe.waited_ms;
      within += ratio >= 0.5 && ratio <= 2 ? 1 : 0;
    }
  }
  std::printf("forecast of the wait: %d of %d within a factor of two\n", within, judged);
  EXPECT_GT(judged, 200);
  EXPECT_GT(within, judged * 9 / 10);
}

TEST_F(SchedulingTest, BadOptions_AreRefused) {
  HashRunner runner(SmallRunner());
  EXPECT_EQ(Engine::Create({.length_quantile = 1.0}, runner).status().message(),
            "engine: length_quantile: expected a number in (0, 1), got 1");
  EXPECT_EQ(Engine::Create({.itl_target_ms = -1}, runner).status().message(),
            "engine: itl_target_ms: expected 0 (off) or more, got -1");
  EXPECT_EQ(Engine::Create({.queue_timeout_ms = -5}, runner).status().message(),
            "engine: queue_timeout_ms: expected 0 (none) or more, got -5");
}

}  // namespace
}  // namespace rill::engine
