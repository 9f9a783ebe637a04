#include "server/answer_budget.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "server/status_sampler.h"

namespace rill::server {
namespace {

using Verdict = AnswerBudget::Verdict;

TEST(AnswerBudget, OneAnswerAndAllOfThem_HaveLimits) {
  AnswerBudget budget;
  auto first = std::make_unique<AnswerBudget::Hold>(budget);
  EXPECT_EQ(first->Grow(AnswerBudget::kMaxAnswerBytes + 1), Verdict::kTooLarge);
  EXPECT_EQ(first->Grow(AnswerBudget::kMaxAnswerBytes), Verdict::kFits);
  EXPECT_EQ(first->Grow(1), Verdict::kTooLarge);
  EXPECT_EQ(budget.used_bytes(), AnswerBudget::kMaxAnswerBytes);
  std::vector<std::unique_ptr<AnswerBudget::Hold>> others;
  while (budget.used_bytes() < AnswerBudget::kMaxBytes) {
    others.push_back(std::make_unique<AnswerBudget::Hold>(budget));
    ASSERT_EQ(others.back()->Grow(AnswerBudget::kMaxAnswerBytes), Verdict::kFits);
  }
  AnswerBudget::Hold late(budget);
  EXPECT_EQ(late.Grow(1), Verdict::kBusy);
  EXPECT_EQ(budget.used_bytes(), AnswerBudget::kMaxBytes) << "what was refused is not kept";
  first.reset();
  EXPECT_EQ(late.Grow(1), Verdict::kFits);
  others.clear();
  EXPECT_EQ(budget.used_bytes(), 1);
}

TEST(ShareOf, MoreThanTheLimit_RaisesTheLimit) {
  std::atomic<double> int8{1000}, f32{100};
  EXPECT_EQ(ShareOf(0.5, {&int8, &f32}), 0.5);
  EXPECT_EQ(int8, 1000);
  EXPECT_EQ(ShareOf(1.5, {&int8, &f32}), 1);
  EXPECT_EQ(int8, 1500);
  EXPECT_EQ(f32, 150);
}

TEST(WindowOf, AStepThatBeganBefore_CountsForItsWholeTime) {
  EXPECT_EQ(WindowOf(1, {{"a", 10}}, {{"a", 10.4}}), 1);
  EXPECT_EQ(WindowOf(1, {{"a", 10}}, {{"a", 13}}), 3);
  EXPECT_EQ(WindowOf(1, {{"a", 10}, {"b", 2}}, {{"a", 10.9}, {"b", 2.9}}), 1) << "side by side";
  EXPECT_EQ(WindowOf(1, {}, {{"new", 500}}), 1);
}

}  // namespace
}  // namespace rill::server
