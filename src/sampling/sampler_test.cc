#include "sampling/sampler.h"

#include <gtest/gtest.h>

#include "sampling/exact_math.h"
#include "sampling/sampling_test_util.h"

namespace rill::sampling {
namespace {

using testing::ChiSquareDeviate;
using testing::ExactDistribution;
using testing::MakeSampler;
using testing::RandomLogits;

const std::vector<int32_t> kPrompt = {3, 3, 5, 7, 40};
const std::vector<int32_t> kOutput = {5, 9, 9, 9, 11};

int32_t SampleOne(const Sampler& sampler, std::span<const float> logits) {
  SamplerWorkspace workspace;
  auto sampled = sampler.Sample(logits, workspace);
  EXPECT_TRUE(sampled.ok()) << sampled.status().ToString();
  return sampled.ok() ? sampled->token_id : -1;
}

// Draws with many seeds at one place of the output and compares with the exact distribution.
void ExpectDistribution(const SamplingParams& params, const char* what) {
  constexpr int kDraws = 100000;
  const auto logits = RandomLogits(60, 7, 2.0f);
  const auto exact = ExactDistribution(logits, params, kPrompt, kOutput);
  std::vector<int64_t> counts(logits.size(), 0);
  SamplerWorkspace workspace;
  for (int seed = 0; seed < kDraws; ++seed) {
    Sampler sampler = MakeSampler(params, static_cast<uint64_t>(seed), 0, {}, kPrompt);
    for (int32_t id : kOutput) ASSERT_TRUE(sampler.Accept(id).ok());
    const auto sampled = sampler.Sample(logits, workspace);
    ASSERT_TRUE(sampled.ok());
    ++counts[static_cast<size_t>(sampled->token_id)];
  }
  // Five sigma: one false alarm in 3.5 million; and the seeds are fixed.
  EXPECT_LT(ChiSquareDeviate(counts, exact), 5.0) << what;
  // Everything that may be drawn is drawn: the set is not too small.
  for (size_t i = 0; i < exact.size(); ++i) {
    if (exact[i] * kDraws > 40) {
      EXPECT_GT(counts[i], 0) << what << ": token " << i;
    }
  }
}

TEST(Sampler, EachProcessor_DrawsFromTheExactDistribution) {
  ExpectDistribution({}, "none");
  ExpectDistribution({.temperature = 0.3f}, "temperature 0.3");
  ExpectDistribution({.temperature = 2.5f}, "temperature 2.5");
  ExpectDistribution({.top_k = 1}, "top_k 1");
  ExpectDistribution({.top_k = 7}, "top_k 7");
  ExpectDistribution({.top_k = 1000}, "top_k 1000");
  ExpectDistribution({.top_p = 0.01f}, "top_p 0.01");
  ExpectDistribution({.top_p = 0.5f}, "top_p 0.5");
  ExpectDistribution({.top_p = 0.95f}, "top_p 0.95");
  ExpectDistribution({.min_p = 0.1f}, "min_p 0.1");
  ExpectDistribution({.min_p = 1.0f}, "min_p 1");
  ExpectDistribution({.typical_p = 0.3f}, "typical_p 0.3");
  ExpectDistribution({.typical_p = 0.9f}, "typical_p 0.9");
  ExpectDistribution({.repetition_penalty = 1.7f}, "repetition_penalty 1.7");
  ExpectDistribution({.repetition_penalty = 0.6f}, "repetition_penalty 0.6");
  ExpectDistribution({.presence_penalty = 1.5f}, "presence_penalty 1.5");
  ExpectDistribution({.frequency_penalty = 0.8f}, "frequency_penalty 0.8");
  ExpectDistribution({.frequency_penalty = -0.5f}, "frequency_penalty -0.5");
  ExpectDistribution({.logit_bias = {{3, 2.5f}, {17, -100.0f}, {18, 1.0f}}}, "logit_bias");
}

TEST(Sampler, CombinedProcessors_DrawFromTheExactDistribution) {
  ExpectDistribution({.temperature = 0.7f, .top_k = 20, .top_p = 0.9f}, "temperature, k, p");
  ExpectDistribution({.top_k = 30, .top_p = 0.8f, .min_p = 0.05f, .typical_p = 0.95f},
                     "k, p, m, t");
  ExpectDistribution({.temperature = 1.3f,
                      .top_k = 40,
                      .top_p = 0.97f,
                      .min_p = 0.01f,
                      .typical_p = 0.99f,
                      .repetition_penalty = 1.2f,
                      .presence_penalty = 0.5f,
                      .frequency_penalty = 0.25f,
                      .logit_bias = {{9, 3.0f}, {2, -5.0f}}},
                     "all");
}

TEST(Sampler, DistributionOverPositions_OneSeed_IsExactToo) {
  // The stream of one seed, along the positions and choices of one request.
  const auto logits = RandomLogits(60, 8, 1.5f);
  const auto exact = ExactDistribution(logits, {}, {}, {});
  std::vector<int64_t> counts(logits.size(), 0);
  SamplerWorkspace workspace;
  for (int32_t choice = 0; choice < 100; ++choice) {
    Sampler sampler = MakeSampler({}, 42, choice);
    for (int i = 0; i < 1000; ++i) {
      const auto sampled = sampler.Sample(logits, workspace);
      ASSERT_TRUE(sampled.ok() && sampler.Accept(sampled->token_id).ok());
      ++counts[static_cast<size_t>(sampled->token_id)];
    }
  }
  EXPECT_LT(ChiSquareDeviate(counts, exact), 5.0);
}

TEST(Sampler, Greedy_TakesTheLargestAndOfTiesTheLowerId) {
  std::vector<float> logits(100, -3.0f);
  logits[70] = logits[23] = logits[99] = 4.5f;
  EXPECT_EQ(SampleOne(MakeSampler({.temperature = 0.0f}), logits), 23);
  // Filters never remove what greedy chooses.
  EXPECT_EQ(SampleOne(MakeSampler({.temperature = 0.0f, .top_k = 1, .typical_p = 0.1f}), logits),
            23);
}

// Allows multiples of `step`, and after the first token only the next multiple.
class MultiplesMask : public TokenMask {
 public:
  explicit MultiplesMask(int32_t step) : step_(step) {}
  void FillAllowed(std::span<uint32_t> bits) const override {
    for (int32_t id = last_ + step_; id < 100; id += last_ ? 1000 : step_) {
      bits[static_cast<size_t>(id / 32)] |= 1u << (id % 32);
    }
  }
  Status Accept(int32_t token_id) override {
    last_ = token_id;
    return OkStatus();
  }
  std::unique_ptr<TokenMask> Clone() const override {
    return std::make_unique<MultiplesMask>(*this);
  }

 private:
  int32_t step_;
  int32_t last_ = 0;
};

TEST(Sampler, TakesBest_WhenNothingElseIsAskedOfTheRow) {
  const SamplingParams greedy{.temperature = 0.0f};
  EXPECT_TRUE(MakeSampler(greedy).TakesBest());
  EXPECT_TRUE(MakeSampler({.temperature = 0.0f, .top_k = 3, .top_p = 0.5f}).TakesBest());
  const auto with = [&](auto change) {
    SamplingParams params = greedy;
    change(params);
    return MakeSampler(params, 1, 0, {2}).TakesBest();
  };
  EXPECT_FALSE(with([](SamplingParams& p) { p.temperature = 0.1f; }));
  EXPECT_FALSE(with([](SamplingParams& p) { p.logprobs = 0; }));
  EXPECT_FALSE(with([](SamplingParams& p) { p.logit_bias = {{3, 1.0f}}; }));
  EXPECT_FALSE(with([](SamplingParams& p) { p.repetition_penalty = 1.1f; }));
  EXPECT_FALSE(with([](SamplingParams& p) { p.min_tokens = 1; }));
  EXPECT_FALSE(Sampler(std::make_shared<const RequestSampling>(greedy, 1, std::vector<int32_t>{},
                                                               std::vector<int32_t>{}),
                       0, std::make_unique<MultiplesMask>(2))
                   .TakesBest());
  // Of a token that was there.
  for (const SamplingParams& params :
       {SamplingParams{.temperature = 0.0f, .presence_penalty = 1},
        SamplingParams{.temperature = 0.0f, .frequency_penalty = 1}}) {
    Sampler punishing = MakeSampler(params);
    EXPECT_TRUE(punishing.TakesBest());
    ASSERT_TRUE(punishing.Accept(4).ok());
    EXPECT_FALSE(punishing.TakesBest());
  }
  // Until as many are there.
  Sampler sampler = MakeSampler({.temperature = 0.0f, .min_tokens = 1}, 1, 0, {2});
  ASSERT_TRUE(sampler.Accept(4).ok());
  EXPECT_TRUE(sampler.TakesBest());
}

TEST(Sampler, Take_IsWhatSampleDoesWithTheRow) {
  SamplerWorkspace workspace;
  const Sampler sampler = MakeSampler({.temperature = 0.0f});
  auto logits = RandomLogits(1500, 1, 1.0f);
  const auto sampled = sampler.Sample(logits, workspace);
  ASSERT_TRUE(sampled.ok());
  const auto id = static_cast<size_t>(sampled->token_id);
  const auto taken = sampler.Take(sampled->token_id, logits[id], 1500);
  ASSERT_TRUE(taken.ok());
  EXPECT_EQ(taken->token_id, sampled->token_id);
  for (float bad : {NAN, INFINITY, -INFINITY}) {
    logits[1234] = bad;
    EXPECT_EQ(sampler.Take(1234, bad, 1500).status().ToString(),
              sampler.Sample(logits, workspace).status().ToString());
  }
}

TEST(Sampler, TopK_OfTiesTheLowerIdsStay) {
  const std::vector<float> logits(5000, 1.0f);
  for (uint64_t seed = 0; seed < 300; ++seed) {
    EXPECT_LT(SampleOne(MakeSampler({.top_k = 3}, seed), logits), 3);
    EXPECT_LT(SampleOne(MakeSampler({.top_p = 0.01f}, seed), logits), 50);
  }
}

TEST(Sampler, NonFiniteLogit_IsAnErrorThatNamesIt) {
  SamplerWorkspace workspace;
  for (float bad : {NAN, INFINITY, -INFINITY}) {
    auto logits = RandomLogits(1500, 1, 1.0f);
    logits[1234] = bad;
    for (float temperature : {0.0f, 1.0f}) {
      const auto sampled = MakeSampler({.temperature = temperature}).Sample(logits, workspace);
      ASSERT_FALSE(sampled.ok());
      EXPECT_EQ(sampled.status().code(), StatusCode::kDataLoss);
      EXPECT_NE(sampled.status().message().find("token 1234 of 1500"), std::string::npos)
          << sampled.status().message();
    }
  }
}

TEST(Sampler, ExtremeLogits_StayFiniteAndRight) {
  std::vector<float> logits = {3e38f, -3e38f, 3e38f, 0.0f};
  SamplingParams params{.top_k = 3,
                        .top_p = 0.9f,
                        .min_p = 0.1f,
                        .typical_p = 0.9f,
                        .repetition_penalty = 0.01f,
                        .logit_bias = {{1, -100.0f}}};
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const int32_t id = SampleOne(MakeSampler(params, seed, 0, {}, {0, 1, 2}), logits);
    EXPECT_TRUE(id == 0 || id == 2) << id;
  }
  EXPECT_EQ(SampleOne(MakeSampler({.temperature = 1e-30f, .top_p = 0.5f}), {{1.0f, 1.5f, 1.25f}}),
            1);
}

TEST(Sampler, MinTokens_HoldsEndIdsBackAndThenLetsThemGo) {
  std::vector<float> logits(50, 0.0f);
  logits[2] = 50.0f;
  logits[4] = 40.0f;
  SamplingParams params{.temperature = 0.0f, .min_tokens = 2};
  Sampler sampler = MakeSampler(params, 1, 0, {2});
  EXPECT_EQ(SampleOne(sampler, logits), 4);
  ASSERT_TRUE(sampler.Accept(4).ok());
  EXPECT_EQ(SampleOne(sampler, logits), 4);
  ASSERT_TRUE(sampler.Accept(4).ok());
  EXPECT_EQ(SampleOne(sampler, logits), 2);
  // A bias cannot lift what is held back.
  params.logit_bias = {{2, 100.0f}};
  EXPECT_EQ(SampleOne(MakeSampler(params, 1, 0, {2}), logits), 4);
}

TEST(Sampler, TokenMask_OnlyAllowedTokensAreDrawnAndNoneIsAnError) {
  const auto logits = RandomLogits(100, 3, 1.0f);
  SamplerWorkspace workspace;
  const auto request = [](SamplingParams params, uint64_t seed) {
    return std::make_shared<const RequestSampling>(params, seed, std::vector<int32_t>{},
                                                   std::vector<int32_t>{});
  };
  for (uint64_t seed = 0; seed < 200; ++seed) {
    for (const SamplingParams& params :
         {SamplingParams{}, SamplingParams{.temperature = 0.0f}, SamplingParams{.top_k = 90},
          SamplingParams{.top_p = 0.99f}, SamplingParams{.typical_p = 0.9f},
          SamplingParams{.min_p = 0.01f}, SamplingParams{.logit_bias = {{1, 100.0f}}}}) {
      Sampler sampler(request(params, seed), 0, std::make_unique<MultiplesMask>(7));
      const auto sampled = sampler.Sample(logits, workspace);
      ASSERT_TRUE(sampled.ok());
      EXPECT_TRUE(sampled->token_id > 0 && sampled->token_id % 7 == 0) << sampled->token_id;
      ASSERT_TRUE(sampler.Accept(sampled->token_id).ok());
      const auto next = sampler.Sample(logits, workspace);
      if (sampled->token_id + 7 < 100) {
        EXPECT_EQ(next->token_id, sampled->token_id + 7);
      } else {
        EXPECT_EQ(next.status().code(), StatusCode::kFailedPrecondition);
      }
    }
  }
}

TEST(Sampler, Logprobs_AreOfTheModelsOwnDistribution) {
  const auto logits = RandomLogits(3000, 5, 3.0f);
  const auto exact = testing::Softmax({logits.begin(), logits.end()});
  SamplerWorkspace workspace;
  const SamplingParams params{
      .temperature = 0.2f, .top_k = 2, .logit_bias = {{1500, 50.0f}}, .logprobs = 20};
  const auto sampled = MakeSampler(params).Sample(logits, workspace);
  ASSERT_TRUE(sampled.ok());
  EXPECT_EQ(sampled->token_id, 1500);
  EXPECT_NEAR(sampled->logprob, std::log(exact[1500]), 2e-6);
  ASSERT_EQ(sampled->top_logprobs.size(), 20u);
  const auto order =
      testing::Order(exact.size(), [&](size_t a, size_t b) { return exact[a] > exact[b]; });
  for (size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(sampled->top_logprobs[i].token_id, static_cast<int32_t>(order[i]));
    EXPECT_NEAR(sampled->top_logprobs[i].logprob, std::log(exact[order[i]]), 2e-6);
  }
}

TEST(Sampler, OutputCounts_DoNotSeeThePromptAndRepetitionSeesBoth) {
  const std::vector<float> logits = {1.0f, 0.9f, 0.8f};
  // Token 0 is in the prompt: presence leaves it, repetition does not.
  EXPECT_EQ(SampleOne(MakeSampler({.temperature = 0.0f, .presence_penalty = 2.0f}, 1, 0, {}, {0}),
                      logits),
            0);
  EXPECT_EQ(SampleOne(MakeSampler({.temperature = 0.0f, .repetition_penalty = 2.0f}, 1, 0, {}, {0}),
                      logits),
            1);
  Sampler sampler = MakeSampler({.temperature = 0.0f, .frequency_penalty = 0.06f}, 1, 0, {}, {0});
  ASSERT_TRUE(sampler.Accept(0).ok());
  EXPECT_EQ(SampleOne(sampler, logits), 0);  // 0.94 against 0.9
  ASSERT_TRUE(sampler.Accept(0).ok());
  EXPECT_EQ(SampleOne(sampler, logits), 1);  // 0.88
}

TEST(Sampler, SameBitsOnEveryMachine) {
  // Drawn tokens of fixed parameters; a change of this number is a change of what seeds mean.
  SamplerWorkspace workspace;
  uint64_t hash = 0;
  for (const SamplingParams& params :
       {SamplingParams{}, SamplingParams{.top_k = 50, .top_p = 0.9f},
        SamplingParams{.temperature = 0.6f, .min_p = 0.02f, .typical_p = 0.9f}}) {
    Sampler sampler = MakeSampler(params, 20240607);
    for (uint32_t i = 0; i < 200; ++i) {
      std::vector<float> logits(5000);
      uint32_t state = i + 1;
      for (float& logit : logits) {
        state = state * 1664525u + 1013904223u;
        logit = static_cast<float>(state >> 8) * 0x1p-21f;
      }
      const auto sampled = sampler.Sample(logits, workspace);
      ASSERT_TRUE(sampled.ok() && sampler.Accept(sampled->token_id).ok());
      hash = hash * 0x100000001B3u + static_cast<uint64_t>(sampled->token_id);
    }
  }
  EXPECT_EQ(hash, 18003434726897845810u);
}

}  // namespace
}  // namespace rill::sampling
