#include "engine/step_time.h"

#include <gtest/gtest.h>

#include <random>

namespace rill::engine {
namespace {

TEST(StepTime, FindsTheCoefficientsAndTheMargin) {
  std::mt19937 random(5);
  std::uniform_real_distribution<double> unit(0, 1);
  const auto truth = [](const StepSize& size) {
    return 2.0 + 0.05 * size.prefill_tokens + 0.3 * size.decodes + 2e-4 * size.kv_reads;
  };
  const auto draw = [&] {
    StepSize size;
    size.decodes = static_cast<double>(random() % 64);
    size.prefill_tokens = random() % 3 == 0 ? static_cast<double>(random() % 512) : 0;
    size.kv_reads = (size.decodes + size.prefill_tokens) * 600 * unit(random);
    return size;
  };
  StepTime cost;
  EXPECT_FALSE(cost.ready());
  for (int i = 0; i < 1000; ++i) {
    const StepSize size = draw();
    cost.Observe(size, truth(size) * (0.95 + 0.1 * unit(random)));
  }
  int above = 0;
  for (int i = 0; i < 1000; ++i) {
    const StepSize size = draw();
    EXPECT_NEAR(cost.Predict(size), truth(size), 0.05 * truth(size));
    above += truth(size) * (0.95 + 0.1 * unit(random)) > cost.Bound(size) ? 1 : 0;
  }
  EXPECT_LT(above, 60);
}

// Steps with prompts vary more than those without, and there are few of them.
TEST(StepTime, TheMarginIsThatOfStepsWithPrompts) {
  std::mt19937 random(6);
  std::uniform_real_distribution<double> unit(0, 1);
  StepTime cost;
  const auto actual = [&](const StepSize& size) {
    const double truth = 2 + 0.1 * size.prefill_tokens + 0.5 * size.decodes;
    return truth *
           (size.prefill_tokens > 0 ? 0.8 + 0.4 * unit(random) : 0.98 + 0.04 * unit(random));
  };
  const auto draw = [&](bool with_prompt) {
    return StepSize{with_prompt ? 16 + static_cast<double>(random() % 400) : 0,
                    1 + static_cast<double>(random() % 64), 0};
  };
  for (int i = 0; i < 2000; ++i) {
    const StepSize size = draw(i % 10 == 0);
    cost.Observe(size, actual(size));
  }
  int above = 0;
  for (int i = 0; i < 2000; ++i) {
    const StepSize size = draw(true);
    above += actual(size) > cost.Bound(size) ? 1 : 0;
  }
  EXPECT_LT(above, 120);
}

// Full chunks alone tell nothing of a step without one: it is not to be thought as slow.
TEST(StepTime, PutsFirstStepsDownToTheirPrompts) {
  StepTime cost;
  const auto truth = [](const StepSize& size) {
    return 3.0 + 0.55 * size.prefill_tokens + 0.7 * size.decodes + 1e-5 * size.kv_reads;
  };
  for (int i = 0; i < 6; ++i) {
    const StepSize size{512, i < 2 ? 0.0 : i, 512.0 * 256 + i * 300};
    cost.Observe(size, truth(size));
  }
  EXPECT_LT(cost.Predict({0, 6, 3000}), 40);
  // The chunk that now seems to fit into 100 ms does, roughly; a few later it does.
  for (int i = 0; i < 8; ++i) {
    StepSize size{0, 6, 3000};
    while (cost.Bound(size) < 100) ++size.prefill_tokens;
    EXPECT_LT(truth(size), i < 2 ? 140 : 110) << i;
    cost.Observe(size, truth(size));
  }
}

// A crowd that comes at once: the first step is all prompts, and the second has decodes already.
TEST(StepTime, TheSecondChunkFits) {
  StepTime cost;
  const auto truth = [](const StepSize& size) {
    return 3.0 + 0.55 * size.prefill_tokens + 0.7 * size.decodes + 1e-5 * size.kv_reads;
  };
  EXPECT_FALSE(cost.has_observed());
  const StepSize first{512, 0, 512.0 * 256};
  cost.Observe(first, truth(first));
  ASSERT_TRUE(cost.has_observed());
  StepSize size{0, 16, 3000};
  while (cost.Bound(size) < 100) ++size.prefill_tokens;
  EXPECT_GT(size.prefill_tokens, 64);
  EXPECT_LT(truth(size), 110);
}

TEST(StepTime, FollowsAChangeOfSpeedAndNeverPredictsLessForMore) {
  StepTime cost;
  for (int i = 0; i < 2000; ++i) {
    const double tokens = 1 + i * 37 % 256;
    cost.Observe({tokens, 0, tokens * tokens / 2}, (i < 1000 ? 0.1 : 0.4) * tokens);
  }
  EXPECT_NEAR(cost.Predict({100, 0, 5000}), 40, 4);
  EXPECT_GE(cost.Predict({101, 0, 5000}), cost.Predict({100, 0, 5000}));
  EXPECT_GE(cost.Predict({100, 1, 5000}), cost.Predict({100, 0, 5000}));
  EXPECT_GE(cost.Predict({100, 0, 6000}), cost.Predict({100, 0, 5000}));
}

}  // namespace
}  // namespace rill::engine
