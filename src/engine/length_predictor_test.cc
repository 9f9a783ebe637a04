#include "engine/length_predictor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace rill::engine {
namespace {

LengthQuery Query(int32_t generated, int32_t max_tokens = 4096, std::string_view tenant = "a",
                  std::string_view length_class = "chat") {
  return {tenant, length_class, {}, max_tokens, generated};
}

TEST(SurvivalPredictor, WithoutSamples_SaysTheWorstCase) {
  SurvivalPredictor predictor(0.9);
  EXPECT_EQ(predictor.Predict(Query(0, 300)).reserve_tokens, 300);
  for (int i = 0; i + 1 < SurvivalPredictor::kMinSamples; ++i) predictor.Observe(Query(5), false);
  EXPECT_EQ(predictor.Predict(Query(0, 300)).reserve_tokens, 300);
  predictor.Observe(Query(5), false);
  EXPECT_EQ(predictor.Predict(Query(0, 300)).reserve_tokens, 5);
}

// What is expected of a fresh server is a guess, not the worst case; ends take its place.
TEST(SurvivalPredictor, WithoutSamples_ExpectsAGuessAndHoldsTheWorstCase) {
  constexpr double kGuess = SurvivalPredictor::kGuessTokens;
  SurvivalPredictor predictor(0.9);
  const LengthForecast first = predictor.Predict(Query(0, 100'000));
  EXPECT_NEAR(first.expected_tokens, kGuess, 0.03 * kGuess);
  EXPECT_EQ(first.held_tokens, 100'000);
  EXPECT_EQ(first.reserve_tokens, 100'000);
  EXPECT_LT(predictor.Predict(Query(0, 10)).expected_tokens, 10);
  EXPECT_GT(predictor.Predict(Query(0, 10)).expected_tokens, 9);
  // Buckets are 512 wide there.
  EXPECT_NEAR(predictor.Predict(Query(5000, 100'000)).expected_tokens, 5000 + kGuess, 0.5 * kGuess);
  double before = first.expected_tokens;
  for (int i = 0; i + 1 < SurvivalPredictor::kMinSamples; ++i) {
    predictor.Observe(Query(8), false);
    const double after = predictor.Predict(Query(0, 100'000)).expected_tokens;
    EXPECT_LT(after, before);
    before = after;
    // Beyond all that was seen the guess is all there is.
    EXPECT_NEAR(predictor.Predict(Query(20, 100'000)).expected_tokens, 20 + kGuess, 0.05 * kGuess);
  }
  EXPECT_LT(before, 80);
  predictor.Observe(Query(8), false);
  EXPECT_NEAR(predictor.Predict(Query(0, 100'000)).expected_tokens, 8, 1);
}

// Answers that were cut off say that some are longer, not that all are as long as can be.
TEST(SurvivalPredictor, FewSamplesThatWereCutOff_LeaveTheGuess) {
  constexpr double kGuess = SurvivalPredictor::kGuessTokens;
  SurvivalPredictor predictor(0.9);
  for (int i = 0; i + 1 < SurvivalPredictor::kMinSamples; ++i) {
    predictor.Observe(Query(1, 1), true);
    EXPECT_NEAR(predictor.Predict(Query(0, 100'000)).expected_tokens, kGuess, 0.05 * kGuess);
    EXPECT_NEAR(predictor.Predict(Query(20, 8192)).expected_tokens, 20 + kGuess, 0.05 * kGuess);
  }
}

TEST(SurvivalPredictor, Quantile_HoldsForNewSamplesAlsoBeyondWhatIsThere) {
  std::mt19937 random(7);
  std::lognormal_distribution<double> lengths(5.0, 1.0);
  const auto draw = [&] { return std::clamp(static_cast<int32_t>(lengths(random)), 1, 4096); };
  for (double quantile : {0.5, 0.9}) {
    SurvivalPredictor predictor(quantile);
    for (int i = 0; i < 2000; ++i) predictor.Observe(Query(draw()), false);
    for (int32_t generated : {0, 100, 400}) {
      const LengthForecast forecast = predictor.Predict(Query(generated));
      int longer = 0, beyond = 0;
      double sum = 0;
      for (int i = 0; i < 20000; ++i) {
        const int32_t length = draw();
        if (length <= generated) continue;
        ++beyond;
        sum += length;
        longer += length > forecast.reserve_tokens ? 1 : 0;
      }
      const double share = static_cast<double>(longer) / beyond;
      // A bucket is an eighth of an octave wide, and 2,000 samples have noise of their own.
      EXPECT_NEAR(share, 1 - quantile, 0.06) << quantile << ' ' << generated;
      EXPECT_NEAR(forecast.expected_tokens, sum / beyond, 0.1 * sum / beyond);
    }
  }
}

TEST(SurvivalPredictor, AnswersThatWereCutOff_CountAsLonger) {
  SurvivalPredictor predictor(0.9);
  for (int i = 0; i < 100; ++i) predictor.Observe(Query(64), true);
  EXPECT_EQ(predictor.Predict(Query(0, 64)).reserve_tokens, 64);
  EXPECT_EQ(predictor.Predict(Query(0, 1000)).reserve_tokens, 1000);
  // Half of them cut off at 10, the others end at 20: the answer is 20 and not 10.
  SurvivalPredictor mixed(0.5);
  for (int i = 0; i < 100; ++i) {
    mixed.Observe(Query(10), true);
    mixed.Observe(Query(20), false);
  }
  const int32_t said = mixed.Predict(Query(0)).reserve_tokens;
  EXPECT_GE(said, 20);
  EXPECT_LE(said, 22);
}

TEST(SurvivalPredictor, NarrowestCurveWithSamples_Decides) {
  SurvivalPredictor predictor(0.9);
  for (int i = 0; i < 50; ++i) {
    predictor.Observe(Query(8, 4096, "a", "chat"), false);
    predictor.Observe(Query(16, 4096, "b", "chat"), false);
    predictor.Observe(Query(4, 4096, "b", "code"), false);
  }
  EXPECT_EQ(predictor.Predict(Query(0, 4096, "a", "chat")).reserve_tokens, 8);
  EXPECT_EQ(predictor.Predict(Query(0, 4096, "c", "chat")).reserve_tokens, 16);
  EXPECT_EQ(predictor.Predict(Query(0, 4096, "c", "code")).reserve_tokens, 4);
  EXPECT_EQ(predictor.Predict(Query(0, 4096, "c", "other")).reserve_tokens, 16);
}

TEST(SurvivalPredictor, ManyTenants_TakeBoundedMemory) {
  SurvivalPredictor predictor(0.9);
  for (int i = 0; i < 5000; ++i) {
    predictor.Observe(Query(8, 4096, "tenant" + std::to_string(i)), false);
  }
  EXPECT_LE(predictor.num_curves(), SurvivalPredictor::kMaxCurves);
  EXPECT_EQ(predictor.Predict(Query(0)).reserve_tokens, 8);
}

TEST(SurvivalPredictor, Forecasts_StayWithinWhatIsThereAndMaxTokens) {
  std::mt19937 random(3);
  SurvivalPredictor predictor(0.7);
  for (int i = 0; i < 3000; ++i) {
    predictor.Observe(Query(static_cast<int32_t>(random() % 3000)), random() % 3 == 0);
    const int32_t max_tokens = 1 + static_cast<int32_t>(random() % 100000);
    const int32_t generated = static_cast<int32_t>(random() % static_cast<uint32_t>(max_tokens));
    const LengthForecast forecast = predictor.Predict(Query(generated, max_tokens));
    ASSERT_GT(forecast.reserve_tokens, generated);
    ASSERT_LE(forecast.reserve_tokens, max_tokens);
    ASSERT_GE(forecast.expected_tokens, generated);
    ASSERT_LE(forecast.expected_tokens, max_tokens);
  }
}

}  // namespace
}  // namespace rill::engine
