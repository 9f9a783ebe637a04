// How often a benchmark repeats, and which repetition a profile shows.
#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <utility>

#include "rill/bench.h"

namespace rill {
namespace {

const BenchCase kDecode{"decode", 2, 2, 7};

class BenchmarkTest : public ::testing::Test {
 protected:
  std::unique_ptr<Benchmark> Make(const BenchmarkOptions& options) {
    LoadOptions load;
    load.backend = "reference";  // has no ceilings, which would take time
    load.max_context = 64;
    auto llm = Llm::Open("synthetic:llama-tiny:q8_0", load);
    EXPECT_TRUE(llm.ok()) << llm.status().ToString();
    llm_ = std::move(*llm);
    auto made = Benchmark::Create(*llm_, {kDecode}, options);
    EXPECT_TRUE(made.ok()) << made.status().ToString();
    return std::move(*made);
  }

 private:
  std::unique_ptr<Llm> llm_;
};

BenchmarkOptions Options(int32_t repetitions, double min_seconds, double long_seconds) {
  BenchmarkOptions options;
  options.min_repetitions = repetitions;
  options.min_seconds = min_seconds;
  options.long_seconds = long_seconds;
  return options;
}

TEST_F(BenchmarkTest, LongCase_RunsOnceUnlessNoneIsTooLong) {
  auto benchmark = Make(Options(4, 0, 1e-9));
  EXPECT_EQ(benchmark->Run(kDecode)->repetitions, 1);
  EXPECT_EQ(benchmark->ProfileOps(kDecode)->repetitions, 1);
  benchmark.reset();  // before its model
  benchmark = Make(Options(4, 0, std::numeric_limits<double>::infinity()));
  EXPECT_EQ(benchmark->Run(kDecode)->repetitions, 4);
  EXPECT_EQ(benchmark->ProfileOps(kDecode)->repetitions, 4);
}

TEST_F(BenchmarkTest, Repetitions_GoOnUntilTheirTimeIsOver) {
  auto benchmark = Make(Options(1, 0.2, 2));
  const auto run = benchmark->Run(kDecode);
  ASSERT_TRUE(run.ok());
  EXPECT_GE(run->repetitions * run->max_seconds, 0.2);
  const auto profile = benchmark->ProfileOps(kDecode);
  ASSERT_TRUE(profile.ok());
  EXPECT_GE(profile->repetitions * profile->seconds_span.max, 0.2);
}

TEST_F(BenchmarkTest, Profile_IsOneRepetitionWhoseRowsAddUp) {
  auto benchmark = Make(Options(6, 0, 2));
  const auto profile = benchmark->ProfileOps(kDecode);
  ASSERT_TRUE(profile.ok());
  for (const auto* rows : {&profile->by_op, &profile->by_place}) {
    double seconds = 0;
    for (const ProfileRow& row : *rows) seconds += row.seconds;
    EXPECT_NEAR(seconds, profile->seconds, 1e-9);
  }
  EXPECT_LE(profile->seconds_span.min, profile->seconds);
  EXPECT_LE(profile->seconds, profile->seconds_span.max);
  EXPECT_LT(profile->seconds_span.min, profile->seconds_span.max);
  EXPECT_LE(profile->matmul_share_span.min, profile->matmul_share);
  EXPECT_LE(profile->matmul_share, profile->matmul_share_span.max);
}

}  // namespace
}  // namespace rill
