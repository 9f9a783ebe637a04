#include "sampling/boundary.h"

#include <gtest/gtest.h>

#include <cmath>

#include "sampling/candidates.h"
#include "sampling/exact_math.h"
#include "sampling/philox.h"
#include "sampling/row_passes.h"
#include "sampling/sampling_test_util.h"

namespace rill::sampling {
namespace {

TEST(Boundary, RandomKeysAndMasses_CutWhereAFullSortCuts) {
  std::mt19937 random(11);
  SamplerWorkspace workspace;
  for (int round = 0; round < 3000; ++round) {
    const int32_t count = 1 + static_cast<int32_t>(random() % 400);
    const uint32_t distinct = 1 + random() % 500;  // few: many ties
    std::vector<float> keys(static_cast<size_t>(count));
    std::vector<uint64_t> masses(keys.size());
    uint64_t total = 0;
    for (size_t i = 0; i < keys.size(); ++i) {
      keys[i] = static_cast<float>(random() % distinct) * 0.01f - 2.0f;
      if (random() % 50 == 0) keys[i] = INFINITY;
      total += masses[i] = random() % 4 == 0 ? 0 : random() % 1000;
    }
    if (total == 0) continue;
    const uint64_t target = 1 + random() % total;
    const float first = *std::min_element(keys.begin(), keys.end());
    const float scale = std::vector<float>{0.0f, 1.0f, 100.0f, 800.0f, 1e30f}[random() % 5];
    const Boundary boundary = FindBoundary(
        count, [&](int32_t i) { return keys[static_cast<size_t>(i)]; },
        [&](int32_t i) { return masses[static_cast<size_t>(i)]; }, target, first, scale, workspace);
    const auto order =
        testing::Order(keys.size(), [&](size_t a, size_t b) { return keys[a] < keys[b]; });
    uint64_t sum = 0;
    size_t kept = 0;
    while (sum < target) sum += masses[order[kept++]];
    for (size_t i = 0; i < order.size(); ++i) {
      ASSERT_EQ(boundary.Keeps(keys[order[i]], static_cast<int32_t>(order[i])), i < kept)
          << "round " << round << ", rank " << i << " of " << count << ", scale " << scale;
    }
  }
}

TEST(Philox, KnownAnswers) {
  // From the authors' own table of known answers for philox4x32, 10 rounds.
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(ExactMath, ExpWeightAndLog_AreWithinTheirBounds) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 200000; ++i) {
    const float logit = -static_cast<float>(random() >> 40) * 0x1p-19f;  // (-32, 0]
    const double exact = std::exp(static_cast<double>(logit));
    const double weight = static_cast<double>(ExpWeight(logit, 0.0, 1.0)) * 0x1p-43;
    ASSERT_NEAR(weight, exact, exact * 1e-11 + 0x1p-44) << logit;
    const double x = std::exp(static_cast<double>(random() >> 12) * 0x1p-43);
    ASSERT_NEAR(Log(x), std::log(x), 1e-15 * std::max(1.0, std::fabs(std::log(x)))) << x;
  }
  EXPECT_EQ(ExpWeight(3.0f, 3.0, 1.0), kMaxWeight);
  EXPECT_EQ(ExpWeight(-INFINITY, 3.0, 1.0), 0u);
  EXPECT_EQ(ExpWeight(-40.0f, 3.0, 1e30), 0u);
}

TEST(ArgMax, AnySize_FindsTheFirstLargest) {
  std::mt19937 random(5);
  for (size_t size = 1; size < 200; ++size) {
    std::vector<float> values(size);
    for (float& value : values) value = static_cast<float>(random() % 20) - 30.0f;
    EXPECT_EQ(ArgMax(values), std::max_element(values.begin(), values.end()) - values.begin());
    EXPECT_EQ(FirstNonFinite(values), -1);
    const size_t bad = random() % size;
    values[bad] = NAN;
    EXPECT_EQ(FirstNonFinite(values), static_cast<int64_t>(bad));
  }
  EXPECT_EQ(ArgMax({}), -1);
}

// Rows whose boundary is hard to find: ties, one value only, no spread, a spread beyond floats.
std::vector<float> HardRow(std::mt19937& random) {
  const size_t sizes[] = {1, 2, 7, 8, 9, 33, 300, 5000};
  std::vector<float> row(sizes[random() % std::size(sizes)]);
  const auto kind = random() % 7;
  const float spreads[] = {3.0f, 0.01f, 1e-6f, 1e30f, 1.0f, 0.0f, 20.0f};
  std::normal_distribution<float> normal(0.0f, spreads[kind]);
  for (float& logit : row) {
    logit = normal(random);
    if (kind == 4) logit = std::round(logit * 2) / 2;
    if (random() % 40 == 0 && &logit != row.data()) logit = kForbiddenLogit;
  }
  return row;
}

TEST(Candidates, KeepLargestAndKeepMass_KeepWhatAFullSortKeeps) {
  std::mt19937 random(23);
  SamplerWorkspace workspace;
  for (int round = 0; round < 1500; ++round) {
    const std::vector<float> row = HardRow(random);
    const double temperature = std::vector<double>{1.0, 0.3, 1e-4, 50.0}[random() % 4];
    const auto order =
        testing::Order(row.size(), [&](size_t a, size_t b) { return row[a] > row[b]; });
    Candidates candidates(row, workspace);
    ASSERT_TRUE(candidates.BeginFilters(temperature));
    std::vector<int32_t> want;
    if (round % 2 == 0) {
      const auto k = static_cast<int32_t>(1 + random() % (row.size() + 3));
      candidates.KeepLargest(k);
      const bool all = static_cast<size_t>(k) >= row.size();  // nothing to do
      for (const size_t i : order) {
        if (!all && (std::ssize(want) == k || row[i] == kForbiddenLogit)) break;
        want.push_back(static_cast<int32_t>(i));
      }
    } else {
      const double fraction = std::vector<double>{1e-6, 0.1, 0.5, 0.9, 0.999, 1.0}[random() % 6];
      uint64_t total = 0, sum = 0;
      const auto weight = [&](size_t i) {
        return ExpWeight(row[i], candidates.max_logit(), candidates.inv_temperature());
      };
      for (size_t i = 0; i < row.size(); ++i) total += weight(i);
      const double share = std::ceil(fraction * static_cast<double>(total));
      const uint64_t target = share < static_cast<double>(total)
                                  ? std::max<uint64_t>(1, static_cast<uint64_t>(share))
                                  : total;
      candidates.KeepMass(fraction);
      for (const size_t i : order) {
        if (sum >= target) break;
        want.push_back(static_cast<int32_t>(i));
        sum += weight(i);
      }
      ASSERT_EQ(candidates.TotalWeight(), sum) << round;
    }
    std::sort(want.begin(), want.end());
    std::vector<int32_t> got;
    for (int32_t i = 0; i < candidates.size(); ++i) got.push_back(candidates.id(i));
    ASSERT_EQ(got, want) << "round " << round << ", " << row.size() << " tokens";
  }
}

}  // namespace
}  // namespace rill::sampling
