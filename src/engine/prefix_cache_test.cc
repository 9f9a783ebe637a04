// The prefix cache: what is found, what never is, and that nothing else changes.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "engine/engine.h"
#include "engine/engine_test_util.h"

namespace rill::engine {
namespace {

using testing::Greedy;
using testing::GreedyChain;
using testing::Recorder;
using testing::SmallRunner;

std::vector<int32_t> Prompt(int32_t count, int32_t salt = 0) {
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (int32_t i = 0; i < count; ++i) ids[static_cast<size_t>(i)] = (i * 7 + i / 5 + salt) % 61;
  return ids;
}

class PrefixCacheTest : public ::testing::Test {
 protected:
  PrefixCacheTest() { Restart({}); }
  void Restart(const EngineOptions& options, const RunnerInfo& info = SmallRunner()) {
    engine_.reset();
    runner_ = std::make_unique<HashRunner>(info);
    auto engine = Engine::Create(options, *runner_);
    ASSERT_TRUE(engine.ok()) << engine.status().ToString();
    engine_ = std::move(engine).value();
  }
  Recorder Run(const GenerateRequest& request) {
    Recorder recorder;
    EXPECT_TRUE(engine_->Submit(request, recorder.Callback()).ok());
    while (engine_->HasWork()) {
      EXPECT_TRUE(engine_->Step().ok());
      EXPECT_TRUE(engine_->CheckIntegrity().ok()) << engine_->CheckIntegrity().ToString();
    }
    EXPECT_EQ(recorder.finals, 1);
    EXPECT_EQ(engine_->stats().used_pages, 0);
    return recorder;
  }

  std::unique_ptr<HashRunner> runner_;  // pages of 4, 64 of them
  std::unique_ptr<Engine> engine_;
};

TEST_F(PrefixCacheTest, SamePrompt_IsComputedOnceButForItsEnd) {
  Recorder first = Run(Greedy(Prompt(30), 10));
  EXPECT_EQ(first.usage.cached_tokens, 0);
  const int64_t computed = engine_->stats().prompt_tokens;
  Recorder second = Run(Greedy(Prompt(30), 10));
  EXPECT_EQ(second.usage.cached_tokens, 28);
  EXPECT_EQ(engine_->stats().prompt_tokens - computed, 2);
  EXPECT_EQ(second.tokens, first.tokens);
  EXPECT_EQ(first.tokens[0], GreedyChain(Prompt(30), 10, 61));
  EXPECT_EQ(engine_->stats().prefix_queries, 60);
  EXPECT_EQ(engine_->stats().prefix_hits, 28);
}

TEST_F(PrefixCacheTest, PromptOfWholePages_StillComputesItsLastPage) {
  Run(Greedy(Prompt(32), 3));
  Recorder again = Run(Greedy(Prompt(32), 3));
  EXPECT_EQ(again.usage.cached_tokens, 28);
  EXPECT_EQ(again.tokens[0], GreedyChain(Prompt(32), 3, 61));
}

TEST_F(PrefixCacheTest, NextTurnOfAConversation_FindsTheAnswerToo) {
  Recorder first = Run(Greedy(Prompt(10), 30));
  std::vector<int32_t> conversation = Prompt(10);
  conversation.insert(conversation.end(), first.tokens[0].begin(), first.tokens[0].end());
  conversation.push_back(5);
  Recorder second = Run(Greedy(conversation, 5));
  EXPECT_EQ(second.usage.cached_tokens, 36);  // the last token of the answer was never computed
  EXPECT_EQ(second.tokens[0], GreedyChain(conversation, 5, 61));
}

TEST_F(PrefixCacheTest, OtherTenantOrSalt_FindsNothing) {
  Run(Greedy(Prompt(30), 2));
  GenerateRequest request = Greedy(Prompt(30), 2);
  request.tenant = "other";
  EXPECT_EQ(Run(request).usage.cached_tokens, 0);
  EXPECT_EQ(Run(request).usage.cached_tokens, 28);
  request.cache_salt = "salt";
  EXPECT_EQ(Run(request).usage.cached_tokens, 0);
}

TEST_F(PrefixCacheTest, RunningRequest_SharesItsPagesWithTheNext) {
  Recorder first, second;
  ASSERT_TRUE(engine_->Submit(Greedy(Prompt(16), 40), first.Callback()).ok());
  ASSERT_TRUE(engine_->Step().ok());
  ASSERT_TRUE(engine_->Step().ok());
  const int32_t used = engine_->stats().used_pages;
  GenerateRequest request = Greedy(Prompt(16), 40);
  request.sampling.temperature = 1.0f;
  request.n = 3;
  ASSERT_TRUE(engine_->Submit(request, second.Callback()).ok());
  ASSERT_TRUE(engine_->Step().ok());
  EXPECT_EQ(engine_->stats().used_pages, used + 1);  // the last page of the prompt
  while (engine_->HasWork()) {
    ASSERT_TRUE(engine_->Step().ok());
    ASSERT_TRUE(engine_->CheckIntegrity().ok()) << engine_->CheckIntegrity().ToString();
  }
  EXPECT_EQ(second.usage.cached_tokens, 12);
  EXPECT_EQ(first.tokens[0], GreedyChain(Prompt(16), 40, 61));
}

TEST_F(PrefixCacheTest, OnAndOff_GiveTheSameTokensUnderPressure) {
  RunnerInfo info = SmallRunner();
  info.num_pages = 20;
  std::map<bool, std::vector<std::map<int32_t, std::vector<int32_t>>>> tokens;
  for (const bool cache : {true, false}) {
    Restart({.prefix_cache = cache}, info);
    std::vector<Recorder> recorders(40);
    for (int32_t i = 0; i < 40; ++i) {
      GenerateRequest request = Greedy(Prompt(9 + i % 13, i % 3), 3 + i % 11);
      request.sampling.temperature = 0.8f;
      request.sampling.seed = static_cast<uint64_t>(i);
      request.n = 1 + i % 3;
      request.tenant = i % 2 ? "a" : "b";
      ASSERT_TRUE(engine_->Submit(request, recorders[static_cast<size_t>(i)].Callback()).ok());
    }
    while (engine_->HasWork()) {
      ASSERT_TRUE(engine_->Step().ok());
      ASSERT_TRUE(engine_->CheckIntegrity().ok()) << engine_->CheckIntegrity().ToString();
    }
    for (Recorder& recorder : recorders) tokens[cache].push_back(recorder.tokens);
    EXPECT_EQ(engine_->stats().prefix_hits > 0, cache);
    EXPECT_EQ(engine_->stats().evicted_pages > 0, cache);
    EXPECT_EQ(engine_->stats().cached_pages > 0, cache);
  }
  EXPECT_EQ(tokens[true], tokens[false]);
}

TEST_F(PrefixCacheTest, FailedStepAndBadLogits_LeaveNothingToFind) {
  const auto fail_once = [&](const StepPlan& plan) {
    return plan.step == 3 ? Internal("planted") : OkStatus();
  };
  runner_->before_run = fail_once;
  Recorder failed;
  ASSERT_TRUE(engine_->Submit(Greedy(Prompt(30), 10), failed.Callback()).ok());
  while (engine_->HasWork()) (void)engine_->Step();
  EXPECT_EQ(failed.finish[0], FinishReason::kError);
  EXPECT_EQ(engine_->stats().cached_pages, 0);
  runner_->after_run = [&](const StepPlan& plan, MutableTensorView logits) {
    if (plan.step == 6) logits.Row<float>(0)[3] = NAN;
  };
  Recorder poisoned;
  ASSERT_TRUE(engine_->Submit(Greedy(Prompt(30), 10), poisoned.Callback()).ok());
  while (engine_->HasWork()) (void)engine_->Step();
  EXPECT_EQ(poisoned.finish[0], FinishReason::kError);
  EXPECT_EQ(engine_->stats().cached_pages, 0);
  EXPECT_EQ(Run(Greedy(Prompt(30), 10)).usage.cached_tokens, 0);
}

// ---- log-probabilities of the prompt

std::vector<float> PromptLogprobsOf(const Recorder& recorder) {
  std::vector<float> values;
  for (const TokenEvent& event : recorder.events) {
    if (event.prompt_logprobs.empty()) continue;
    EXPECT_EQ(event.prompt_position, static_cast<int32_t>(values.size()) + 1);
    EXPECT_EQ(event.token_id, -1);
    for (const PromptLogprob& entry : event.prompt_logprobs) values.push_back(entry.logprob);
  }
  return values;
}

std::vector<double> ExpectedLogprobs(const std::vector<int32_t>& prompt, int32_t vocab_size) {
  std::vector<double> expected;
  std::vector<float> logits(static_cast<size_t>(vocab_size));
  for (size_t i = 1; i < prompt.size(); ++i) {
    HashLogits(TokenHash::Of(std::span(prompt).first(i)), logits);
    double sum = 0;
    for (float logit : logits) sum += std::exp(static_cast<double>(logit));
    expected.push_back(static_cast<double>(logits[static_cast<size_t>(prompt[i])]) - std::log(sum));
  }
  return expected;
}

TEST_F(PrefixCacheTest, PromptLogprobs_CoverEachPositionInAnyChunkingAndAfterAHit) {
  for (int32_t rows : {16, 3, 1}) {
    RunnerInfo info = SmallRunner();
    info.max_step_rows = rows;
    Restart({}, info);
    Run(Greedy(Prompt(30), 2));  // its pages are there: they are not to be skipped
    GenerateRequest request = Greedy(Prompt(30), 4);
    request.prompt_logprobs = 2;
    Recorder recorder = Run(request);
    const std::vector<float> got = PromptLogprobsOf(recorder);
    const std::vector<double> expected = ExpectedLogprobs(Prompt(30), 61);
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-5) << i;
    EXPECT_EQ(recorder.tokens[0], GreedyChain(Prompt(30), 4, 61));
    EXPECT_EQ(recorder.usage.cached_tokens, 0);
    EXPECT_EQ(recorder.events[0].prompt_logprobs[0].top_logprobs.size(), 2u);
  }
}

TEST_F(PrefixCacheTest, ScoreOnly_EndsWithoutAToken) {
  GenerateRequest request = Greedy(Prompt(30), 0);
  request.prompt_logprobs = 0;
  request.n = 2;
  Recorder recorder = Run(request);
  EXPECT_EQ(PromptLogprobsOf(recorder).size(), 29u);
  EXPECT_TRUE(recorder.tokens.empty());
  EXPECT_EQ(recorder.finish[0], FinishReason::kLength);
  EXPECT_EQ(recorder.finish[1], FinishReason::kLength);
  EXPECT_EQ(recorder.usage.completion_tokens, 0);
  // A prompt of one token has no log-probability; a prompt alone warms the cache.
  request = Greedy({5}, 0);
  request.prompt_logprobs = 0;
  EXPECT_TRUE(PromptLogprobsOf(Run(request)).empty());
  EXPECT_EQ(Run(Greedy(Prompt(30), 1)).usage.cached_tokens, 28);
}

TEST_F(PrefixCacheTest, ScoringBesideDecodes_KeepsTheStepsRows) {
  RunnerInfo info = SmallRunner();
  info.max_step_rows = 4;
  Restart({}, info);
  std::vector<Recorder> recorders(12);
  for (int32_t i = 0; i < 12; ++i) {
    GenerateRequest request = Greedy(Prompt(5 + i, i), 8);
    if (i % 2) request.prompt_logprobs = 0;
    ASSERT_TRUE(engine_->Submit(request, recorders[static_cast<size_t>(i)].Callback()).ok());
  }
  while (engine_->HasWork()) ASSERT_TRUE(engine_->Step().ok());  // HashRunner checks the limits
  for (int32_t i = 0; i < 12; ++i) {
    EXPECT_EQ(recorders[static_cast<size_t>(i)].tokens[0], GreedyChain(Prompt(5 + i, i), 8, 61));
  }
}

TEST_F(PrefixCacheTest, NewFields_AreValidated) {
  GenerateRequest request = Greedy({1}, 1);
  request.prompt_logprobs = 65;
  EXPECT_EQ(engine_->Validate(request).message(),
            "prompt_logprobs: expected -1 (none) or 0 to 64, got 65");
  request = Greedy({1}, 1);
  request.tenant.assign(2000, 'x');
  EXPECT_EQ(engine_->Validate(request).message(), "tenant: expected at most 1024 bytes, got 2000");
  request = Greedy({1}, 1);
  request.total_timeout_ms = -1;
  EXPECT_EQ(engine_->Validate(request).message(),
            "total_timeout_ms: expected 0 to 31622400000, got -1");
}

}  // namespace
}  // namespace rill::engine
