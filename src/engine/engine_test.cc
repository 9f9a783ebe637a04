#include "engine/engine.h"

#include <gtest/gtest.h>

#include <map>

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
  EXPECT_EQ((*engine)->stats().free_pages, runner.info().num_pages);
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
  EXPECT_EQ((*engine)->stats().free_pages, runner.info().num_pages);
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
  EXPECT_EQ((*engine)->stats().total_pages - (*engine)->stats().free_pages, 2);
  ASSERT_TRUE((*engine)->Step().ok());
  EXPECT_EQ((*engine)->last_plan().copies.size(), 2u);
  EXPECT_EQ((*engine)->stats().total_pages - (*engine)->stats().free_pages, 4);
  ASSERT_TRUE((*engine)->CheckIntegrity().ok()) << (*engine)->CheckIntegrity().ToString();
  while ((*engine)->HasWork()) ASSERT_TRUE((*engine)->Step().ok());
  const auto expected = GreedyChain({1, 2, 3, 4, 5, 6}, 8, runner.info().vocab_size);
  for (int choice = 0; choice < 3; ++choice) EXPECT_EQ(recorder.tokens[choice], expected);
  EXPECT_EQ(recorder.finals, 1);
}

}  // namespace
}  // namespace rill::engine
