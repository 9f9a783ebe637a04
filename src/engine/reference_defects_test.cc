// Mistakes that the reference systems make, each as a property that holds here.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/engine.h"
#include "engine/engine_test_util.h"

namespace rill::engine {
namespace {

using testing::Greedy;
using testing::GreedyChain;
using testing::Recorder;
using testing::SmallRunner;

// Runs all requests together; returns what each gave.
std::vector<Recorder> RunAll(const std::vector<GenerateRequest>& requests,
                             const RunnerInfo& info = SmallRunner(), EngineOptions options = {}) {
  HashRunner runner(info);
  auto engine = Engine::Create(options, runner);
  EXPECT_TRUE(engine.ok()) << engine.status().ToString();
  std::vector<Recorder> recorders(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    const auto id = (*engine)->Submit(requests[i], recorders[i].Callback());
    EXPECT_TRUE(id.ok()) << id.status().ToString();
  }
  while ((*engine)->HasWork()) {
    EXPECT_TRUE((*engine)->Step().ok());
    EXPECT_TRUE((*engine)->CheckIntegrity().ok()) << (*engine)->CheckIntegrity().ToString();
  }
  EXPECT_EQ((*engine)->stats().used_pages, 0);
  return recorders;
}

GenerateRequest Sampled(std::vector<int32_t> prompt_ids, int32_t max_tokens, uint64_t seed) {
  GenerateRequest request = Greedy(std::move(prompt_ids), max_tokens);
  request.sampling.temperature = 1.0f;
  request.sampling.seed = seed;
  return request;
}

// Their set of stop ids is built empty, so token-in requests never stop.
TEST(ReferenceDefects, StopIds_EndTheRequestAtTheFirstOneWhetherOrNotItIsEos) {
  const auto chain = GreedyChain({1, 2}, 30, 61);
  GenerateRequest request = Greedy({1, 2}, 30);
  request.sampling.stop_ids = {chain[6], chain[9]};
  const size_t first = static_cast<size_t>(
      std::find_if(chain.begin(), chain.end(),
                   [&](int32_t id) { return id == chain[6] || id == chain[9]; }) -
      chain.begin());
  auto got = RunAll({request})[0];
  EXPECT_EQ(got.finish[0], FinishReason::kStop);
  EXPECT_EQ(got.tokens[0],
            (std::vector<int32_t>(chain.begin(), chain.begin() + static_cast<int64_t>(first) + 1)));
  // End-of-sequence ids stop too, unless ignored; stop ids still do then.
  request.sampling.stop_ids = {};
  EXPECT_EQ(RunAll({request}, SmallRunner(), {.eos_ids = {chain[6]}})[0].finish[0],
            FinishReason::kStop);
  request.sampling.ignore_eos = true;
  EXPECT_EQ(RunAll({request}, SmallRunner(), {.eos_ids = {chain[6]}})[0].tokens[0], chain);
  request.sampling.stop_ids = {chain[6]};
  EXPECT_EQ(RunAll({request}, SmallRunner(), {.eos_ids = {chain[6]}})[0].finish[0],
            FinishReason::kStop);
}

// Their parameters reach the sampler only on steps where the request list changed.
TEST(ReferenceDefects, SamplingParameters_HoldOnEveryStepWhateverComesAndGoes) {
  GenerateRequest steady = Sampled({1, 2, 3}, 60, 5);
  steady.sampling.temperature = 0.5f;
  steady.sampling.top_p = 0.8f;
  std::vector<GenerateRequest> requests = {steady};
  for (int32_t i = 0; i < 10; ++i) requests.push_back(Sampled({i + 4}, 2 + 5 * i, 77));
  EXPECT_EQ(RunAll(requests)[0].tokens, RunAll({steady})[0].tokens);
}

// Their top_k comes from the first request, penalties go nowhere, seeds are ignored.
TEST(ReferenceDefects, EachRequest_HasItsOwnParametersAndSeed) {
  std::vector<GenerateRequest> requests;
  for (uint64_t seed = 0; seed < 8; ++seed) {
    requests.push_back(Sampled({1, 2, 3}, 40, seed));
    requests.back().sampling.top_k = seed % 4 == 0 ? 1 : static_cast<int32_t>(seed) * 7;
    if (seed % 3 == 1) requests.back().sampling.presence_penalty = 2.0f;
    if (seed % 3 == 2) requests.back().sampling.repetition_penalty = 3.0f;
  }
  const auto together = RunAll(requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(together[i].tokens, RunAll({requests[i]})[0].tokens) << i;
  }
  // top_k 1 is greedy; seeds matter; penalties matter.
  EXPECT_EQ(together[0].tokens.at(0), GreedyChain({1, 2, 3}, 40, 61));
  EXPECT_NE(RunAll({Sampled({1}, 40, 1)})[0].tokens, RunAll({Sampled({1}, 40, 2)})[0].tokens);
  GenerateRequest penalised = Sampled({1}, 40, 1);
  penalised.sampling.presence_penalty = 2.0f;
  EXPECT_NE(RunAll({Sampled({1}, 40, 1)})[0].tokens, RunAll({penalised})[0].tokens);
}

// Their penalty counts are filled only when a prompt starts at position 0 of one step.
TEST(ReferenceDefects, PenaltyCounts_DoNotDependOnHowThePromptWasComputed) {
  GenerateRequest request = Sampled({5, 6, 7, 8, 5, 6, 7, 8, 9, 10}, 40, 3);
  request.n = 3;
  request.sampling.repetition_penalty = 1.8f;
  request.sampling.frequency_penalty = 0.7f;
  const auto whole = RunAll({request})[0].tokens;
  for (int32_t step_tokens : {3, 4, 5, 7, 9}) {
    RunnerInfo info = SmallRunner();
    info.max_step_tokens = step_tokens;
    EXPECT_EQ(RunAll({request}, info)[0].tokens, whole) << step_tokens;
  }
  EXPECT_NE(whole.at(0), whole.at(1));
}

// Their step overshoots its budget by one prompt; and a prompt above the budget blocks the queue
// for ever.
TEST(ReferenceDefects, PromptLongerThanTheStep_RunsInChunksAndBlocksNobody) {
  RunnerInfo info = SmallRunner();
  info.max_step_tokens = 8;
  const std::vector<int32_t> prompt(100, 7);
  // HashRunner refuses a step above the budget, so that none is.
  auto got = RunAll({Greedy({1}, 30), Greedy(prompt, 5), Greedy({2}, 5)}, info);
  EXPECT_EQ(got[0].tokens[0], GreedyChain({1}, 30, 61));
  EXPECT_EQ(got[1].tokens[0], GreedyChain(prompt, 5, 61));
  EXPECT_EQ(got[2].tokens[0], GreedyChain({2}, 5, 61));
}

// On failure they free shared pages several times and others never.
TEST(ReferenceDefects, FailedStep_EndsItsRequestsOnceAndTheEngineGoesOn) {
  HashRunner runner(SmallRunner());
  bool fail = false;
  runner.before_run = [&](const StepPlan&) { return fail ? Internal("planted") : OkStatus(); };
  auto engine = Engine::Create({}, runner);
  Recorder first, waiting;
  GenerateRequest request = Greedy({1, 2, 3, 4, 5, 6}, 30);
  request.n = 4;
  ASSERT_TRUE((*engine)->Submit(request, first.Callback()).ok());
  ASSERT_TRUE((*engine)->Step().ok());
  ASSERT_TRUE((*engine)->Step().ok());
  ASSERT_TRUE((*engine)->Step().ok());
  request.n = 16;  // does not fit beside the first: not part of the failing step
  request.sampling.max_tokens = 5;
  ASSERT_TRUE((*engine)->Submit(request, waiting.Callback()).ok());
  fail = true;
  EXPECT_FALSE((*engine)->Step().ok());
  fail = false;
  EXPECT_EQ(first.finals, 1);
  EXPECT_EQ(first.finish[3], FinishReason::kError);
  EXPECT_NE(first.error.message().find("planted"), std::string::npos);
  EXPECT_EQ((*engine)->stats().used_pages, 0);
  EXPECT_TRUE((*engine)->CheckIntegrity().ok());
  while ((*engine)->HasWork()) ASSERT_TRUE((*engine)->Step().ok());
  EXPECT_EQ(waiting.tokens[15], GreedyChain({1, 2, 3, 4, 5, 6}, 5, 61));
  EXPECT_FALSE((*engine)->dead());
}

TEST(ReferenceDefects, NonFiniteLogits_EndThatRequestOnly) {
  HashRunner runner(SmallRunner());
  runner.after_run = [](const StepPlan& plan, MutableTensorView logits) {
    for (const PlannedSequence& planned : plan.sequences) {
      if (plan.step == 5 && planned.request_id == 2) logits.Row<float>(planned.logit_row)[60] = NAN;
    }
  };
  auto engine = Engine::Create({}, runner);
  Recorder good, bad;
  ASSERT_TRUE((*engine)->Submit(Greedy({1}, 20), good.Callback()).ok());
  ASSERT_TRUE((*engine)->Submit(Greedy({2}, 20), bad.Callback()).ok());
  while ((*engine)->HasWork()) ASSERT_TRUE((*engine)->Step().ok());
  EXPECT_EQ(good.tokens[0], GreedyChain({1}, 20, 61));
  EXPECT_EQ(bad.finish[0], FinishReason::kError);
  EXPECT_EQ(bad.tokens[0].size(), 4u);
  EXPECT_EQ(bad.error.message(), "the model gave the logit nan for token 60 of 61");
}

TEST(Choices, SampledChoices_DifferAndEachEqualsItselfInAnyCompany) {
  GenerateRequest request = Sampled({1, 2, 3, 4, 5, 6}, 30, 9);
  request.n = 5;
  auto alone = RunAll({request})[0];
  EXPECT_NE(alone.tokens[0], alone.tokens[1]);
  EXPECT_NE(alone.tokens[3], alone.tokens[4]);
  auto together = RunAll({Greedy({3}, 50), request, Greedy({1, 2, 3, 4, 5, 6}, 30)});
  EXPECT_EQ(together[1].tokens, alone.tokens);
}

}  // namespace
}  // namespace rill::engine
