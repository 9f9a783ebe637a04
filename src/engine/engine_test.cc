#include "engine/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <thread>
#include <tuple>
#include <vector>

#include "engine/engine_test_util.h"

namespace rill::engine {
namespace {

using testing::Greedy;
using testing::GreedyChain;
using testing::Recorder;
using testing::SmallRunner;

TEST(Engine, OneRequest_GivesTheSerialChainAndOneFinalEvent) {
  HashRunner runner(SmallRunner());
  auto engine = Engine::Create({}, runner);
  ASSERT_TRUE(engine.ok()) << engine.status().ToString();
  Recorder recorder;
  ASSERT_TRUE((*engine)->Submit(Greedy({1, 2, 3}, 20), recorder.Callback()).ok());
  while ((*engine)->HasWork()) {
    ASSERT_TRUE((*engine)->Step().ok());
    ASSERT_TRUE((*engine)->CheckIntegrity().ok()) << (*engine)->CheckIntegrity().ToString();
  }
  EXPECT_EQ(recorder.tokens[0], GreedyChain({1, 2, 3}, 20, runner.info().vocab_size));
  EXPECT_EQ(recorder.finals, 1);
  EXPECT_EQ(recorder.finish[0], FinishReason::kLength);
  EXPECT_EQ(recorder.usage.prompt_tokens, 3);
  EXPECT_EQ(recorder.usage.completion_tokens, 20);
  EXPECT_EQ((*engine)->stats().used_pages, 0);
}

TEST(Engine, MergeStep_DecodesFirstThenPrefillPackedInOneForward) {
  HashRunner runner(SmallRunner());
  auto engine = Engine::Create({}, runner);
  Recorder first, second;
  ASSERT_TRUE((*engine)->Submit(Greedy({1, 2, 3}, 8), first.Callback()).ok());
  ASSERT_TRUE((*engine)->Step().ok());
  ASSERT_TRUE((*engine)->Submit(Greedy({4, 5, 6, 7, 8}, 8), second.Callback()).ok());
  ASSERT_TRUE((*engine)->Step().ok());
  const StepPlan& plan = (*engine)->last_plan();
  EXPECT_EQ(plan.num_decodes, 1);
  EXPECT_EQ(plan.num_tokens(), 1 + 5);  // unpadded
  EXPECT_EQ(plan.q_offsets, (std::vector<int32_t>{0, 1, 6}));
  EXPECT_EQ(plan.kv_lens, (std::vector<int32_t>{4, 5}));
  EXPECT_EQ(plan.logit_rows, (std::vector<int32_t>{0, 5}));
}

TEST(Engine, RequestThatCanNeverFit_IsRefusedAtOnceWithTheNumbers) {
  RunnerInfo info = SmallRunner();
  info.max_context = 8192;
  info.num_pages = 4096;
  HashRunner runner(info);
  auto engine = Engine::Create({}, runner);
  Recorder recorder;
  auto id = (*engine)->Submit(Greedy(std::vector<int32_t>(9001, 1), 16), recorder.Callback());
  ASSERT_FALSE(id.ok());
  EXPECT_EQ(id.status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(id.status().message(),
            "prompt 9001 + max_tokens 16 = 9017 positions, this engine holds 8192");
  EXPECT_FALSE((*engine)->HasWork());
  EXPECT_EQ(recorder.finals, 0);
}

// Nothing is known of lengths: a wait goes by a guess, and memory by what admission will reserve.
TEST(Engine, LoadOfAFreshEngine_IsAGuessThatHoldsTheWorstCase) {
  HashRunner runner(SmallRunner());
  auto engine = Engine::Create({}, runner);
  const ArrivalLoad load = (*engine)->LoadOf("", "", 10'000, 2, 7);
  EXPECT_LT(load.output_tokens, 2 * 2 * SurvivalPredictor::kGuessTokens);
  EXPECT_EQ(load.held_tokens, 7 + 2 * 10'000);
}

TEST(Engine, CancelFromACallback_EndsTheRequestOnceAndFreesItsPages) {
  HashRunner runner(SmallRunner());
  auto engine = Engine::Create({}, runner);
  Recorder recorder;
  auto inner = recorder.Callback();
  auto id = (*engine)->Submit(Greedy({1, 2, 3}, 50), [&](const TokenEvent& event) {
    inner(event);
    if (event.index == 4) {
      EXPECT_TRUE((*engine)->Cancel(event.request_id));
    }
  });
  ASSERT_TRUE(id.ok());
  while ((*engine)->HasWork()) ASSERT_TRUE((*engine)->Step().ok());
  EXPECT_EQ(recorder.tokens[0].size(), 5u);
  EXPECT_EQ(recorder.finish[0], FinishReason::kCancelled);
  EXPECT_EQ(recorder.finals, 1);
  EXPECT_EQ((*engine)->stats().used_pages, 0);
  EXPECT_FALSE((*engine)->Cancel(*id));
}

TEST(Engine, ThreeChoices_ShareThePromptsPagesAndCopyOnlyThePartialOne) {
  HashRunner runner(SmallRunner());  // pages of 4
  auto engine = Engine::Create({}, runner);
  Recorder recorder;
  GenerateRequest request = Greedy({1, 2, 3, 4, 5, 6}, 8);
  request.n = 3;
  ASSERT_TRUE((*engine)->Submit(request, recorder.Callback()).ok());
  ASSERT_TRUE((*engine)->Step().ok());
  EXPECT_EQ((*engine)->stats().used_pages, 2);
  ASSERT_TRUE((*engine)->Step().ok());
  EXPECT_EQ((*engine)->last_plan().copies.size(), 2u);
  EXPECT_EQ((*engine)->stats().used_pages, 4);
  ASSERT_TRUE((*engine)->CheckIntegrity().ok()) << (*engine)->CheckIntegrity().ToString();
  while ((*engine)->HasWork()) ASSERT_TRUE((*engine)->Step().ok());
  const auto expected = GreedyChain({1, 2, 3, 4, 5, 6}, 8, runner.info().vocab_size);
  for (int choice = 0; choice < 3; ++choice) EXPECT_EQ(recorder.tokens[choice], expected);
  EXPECT_EQ(recorder.finals, 1);
}

// Rows are drawn from on all threads of a runner, last ones first; nobody sees a difference.
TEST(Engine, DrawsOnTheRunnersThreads_GiveTheSameTokens) {
  class ThreadedRunner : public HashRunner {
   public:
    using HashRunner::HashRunner;
    int num_threads() const override { return 3; }
    void ForEach(int64_t count, FunctionRef<void(int64_t item, int thread)> task) override {
      most = std::max(most, count);
      std::vector<std::thread> threads;
      for (int thread = 0; thread < num_threads(); ++thread) {
        threads.emplace_back([=] {
          for (int64_t i = count - 1 - thread; i >= 0; i -= 3) task(i, thread);
        });
      }
      for (std::thread& thread : threads) thread.join();
    }
    int64_t most = 0;
  };
  const auto play = [](StepRunner& runner) {
    auto engine = Engine::Create({}, runner);
    std::vector<Recorder> recorders(9);
    for (int32_t i = 0; i < 9; ++i) {
      GenerateRequest request = Greedy({i, 2, 3, i}, 5 + i);
      request.n = 1 + i % 3;
      request.sampling.temperature = i % 2 == 0 ? 0.0f : 1.0f;
      request.sampling.seed = 7 + i;
      request.sampling.logprobs = i % 4 == 3 ? 2 : -1;
      request.sampling.repetition_penalty = i % 3 == 0 ? 1.2f : 1.0f;
      if (i % 4 == 1) request.prompt_logprobs = 1;
      EXPECT_TRUE(
          (*engine)->Submit(std::move(request), recorders[static_cast<size_t>(i)].Callback()).ok());
    }
    while ((*engine)->HasWork()) EXPECT_TRUE((*engine)->Step().ok());
    EXPECT_EQ((*engine)->stats().used_pages, 0);
    std::vector<std::tuple<size_t, int32_t, int32_t, float, size_t>> told;
    for (size_t i = 0; i < recorders.size(); ++i) {
      EXPECT_EQ(recorders[i].finals, 1) << i;
      for (const TokenEvent& event : recorders[i].events) {
        told.emplace_back(i, event.choice, event.token_id, event.logprob,
                          event.top_logprobs.size() + 100 * event.prompt_logprobs.size());
      }
    }
    return told;
  };
  HashRunner serial(SmallRunner());
  ThreadedRunner threaded(SmallRunner());
  EXPECT_EQ(play(threaded), play(serial));
  EXPECT_GT(threaded.most, 6);
}

TEST(Engine, MalformedRequests_AreRefusedWithTheCulprit) {
  HashRunner runner(SmallRunner());
  auto engine = Engine::Create({.max_waiting = 2}, runner);
  const auto refusal = [&](GenerateRequest request) {
    return (*engine)->Submit(std::move(request), nullptr).status().message();
  };
  EXPECT_EQ(refusal(Greedy({}, 5)), "prompt_ids: expected at least one token id, got none");
  EXPECT_EQ(refusal(Greedy({1, 61}, 5)), "prompt_ids[1]: expected a token id in [0, 61), got 61");
  EXPECT_EQ(refusal(Greedy({-1}, 5)), "prompt_ids[0]: expected a token id in [0, 61), got -1");
  EXPECT_EQ(refusal(Greedy({1}, std::numeric_limits<int32_t>::max())),
            "prompt 1 + max_tokens 2147483647 = 2147483648 positions, this engine holds 256");
  GenerateRequest request = Greedy({1}, 5);
  request.n = 0;
  EXPECT_EQ(refusal(request), "n: expected 1 to 128, got 0");
  request.n = 17;
  EXPECT_EQ(refusal(request), "n: 17 choices, this engine runs 16 at once");
  request = Greedy({1, 2, 3, 4, 5}, 200);
  request.n = 2;
  EXPECT_EQ(
      refusal(request),
      "prompt 5 + 2 choices of max_tokens 200 need 103 pages of 4 positions, this engine has 64");
  EXPECT_EQ(refusal(Greedy({1}, 5)), "");
  EXPECT_EQ(refusal(Greedy({1}, 5)), "");
  EXPECT_EQ(refusal(Greedy({1}, 5)), "2 requests are waiting, the limit is 2");
  EXPECT_EQ((*engine)->stats().refused_requests, 8);
}

TEST(Engine, BadOptions_AreRefused) {
  RunnerInfo info = SmallRunner();
  const auto refusal = [&](const EngineOptions& options) {
    HashRunner runner(info);
    return Engine::Create(options, runner).status().message();
  };
  EXPECT_EQ(refusal({.eos_ids = {61}}), "engine: eos_ids: expected token ids in [0, 61), got 61");
  EXPECT_EQ(refusal({.max_choices = 17}),
            "engine: max_choices: expected 1 to 16 (the largest step), got 17");
  EXPECT_EQ(refusal({.max_waiting = 0}), "engine: max_waiting: expected at least 1, got 0");
  info.num_pages = 0;
  EXPECT_EQ(refusal({}), "engine: num_pages: expected at least 1, got 0");
}

TEST(Engine, Cancel_InEachState_FreesAllPagesAtOnce) {
  RunnerInfo info = SmallRunner();
  info.max_step_tokens = info.max_step_rows = 8;
  for (int steps = 0; steps < 8; ++steps) {  // waiting, in prefill chunks, decoding
    for (int choice = -1; choice < 3; ++choice) {
      HashRunner runner(info);
      auto engine = Engine::Create({}, runner);
      GenerateRequest request = Greedy(std::vector<int32_t>(30, 2), 20);
      request.n = 3;
      Recorder recorder;
      const auto id = (*engine)->Submit(request, recorder.Callback());
      for (int i = 0; i < steps; ++i) ASSERT_TRUE((*engine)->Step().ok());
      EXPECT_TRUE((*engine)->Cancel(*id, choice));
      EXPECT_FALSE((*engine)->Cancel(*id, choice));
      EXPECT_TRUE((*engine)->CheckIntegrity().ok()) << (*engine)->CheckIntegrity().ToString();
      if (choice < 0) {
        EXPECT_EQ((*engine)->stats().used_pages, 0);
        EXPECT_EQ((*engine)->stats().reserved_pages, 0);
      }
      while ((*engine)->HasWork()) ASSERT_TRUE((*engine)->Step().ok());
      EXPECT_EQ(recorder.finals, 1);
      EXPECT_EQ((*engine)->stats().used_pages, 0);
      for (int other = 0; other < 3 && choice >= 0; ++other) {
        if (other == choice) continue;
        EXPECT_EQ(recorder.tokens[other], GreedyChain(request.prompt_ids, 20, 61));
      }
    }
  }
}

TEST(Engine, PriorityGoesFirstButTheOldestIsOvertakenOnlySoOften) {
  RunnerInfo info = SmallRunner();
  HashRunner runner(info);
  auto engine = Engine::Create({.max_choices = 1, .max_overtakes = 3}, runner);
  std::vector<RequestId> order;
  const auto note = [&](const TokenEvent& event) {
    if (event.is_final) order.push_back(event.request_id);
  };
  for (int32_t i = 0; i < 8; ++i) {
    GenerateRequest request = Greedy({1}, 1);
    request.priority = i == 0 ? 0 : 5;
    ASSERT_TRUE((*engine)->Submit(request, note).ok());
  }
  while ((*engine)->HasWork()) ASSERT_TRUE((*engine)->Step().ok());
  EXPECT_EQ(order, (std::vector<RequestId>{2, 3, 4, 1, 5, 6, 7, 8}));
}

}  // namespace
}  // namespace rill::engine
