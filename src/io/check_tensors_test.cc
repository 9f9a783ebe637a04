#include "io/check_tensors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/testing.h"
#include "io/gguf.h"

namespace rill::io {
namespace {

TEST(CheckTensors, NanAndInf_AreCountedWithTheirPlace) {
  std::vector<float> good(5000, 1.0f);
  good[7] = 1e-40f;  // subnormal: counted, no defect
  std::vector<float> bad(5000, 1.0f);
  bad[4500] = std::nanf("");
  bad[4600] = -std::numeric_limits<float>::infinity();
  std::vector<uint16_t> half = {0x3C00, 0x7C00};  // 1, Inf
  std::vector<uint8_t> q4(2 * 18, 0);
  q4[18 + 1] = 0x7E;  // the second block's scale is a NaN
  TensorDirectory tensors;
  ASSERT_TRUE(tensors.Add({"good", {good.data(), DType::kF32, {50, 100}}}).ok());
  ASSERT_TRUE(tensors.Add({"bad", {bad.data(), DType::kF32, {5000}}}).ok());
  ASSERT_TRUE(tensors.Add({"half", {half.data(), DType::kF16, {2}}}).ok());
  ASSERT_TRUE(tensors.Add({"q4", {q4.data(), DType::kQ4_0, {64}}}).ok());
  const TensorReport report = CheckTensors(tensors);
  EXPECT_EQ(report.num_elements, 10'066);
  EXPECT_EQ(report.num_subnormal, 1);
  ASSERT_EQ(report.defects.size(), 3u);
  EXPECT_EQ(report.defects[0].num_nan, 1);
  EXPECT_EQ(report.defects[0].num_inf, 1);
  EXPECT_EQ(report.defects[0].first_index, 4500);
  EXPECT_EQ(report.defects[1].num_inf, 1);
  EXPECT_EQ(report.defects[2].num_nan, 32);
  EXPECT_EQ(report.defects[2].first_index, 32);
  EXPECT_EQ(report.Summary(),
            "tensor 'bad': 1 NaN, 1 Inf, the first at element 4500 (and 2 more tensors)");
}

TEST(SampleTensors, SmallFile_IsLookedAtWhole) {
  std::vector<float> bad(5000, 1.0f);
  bad[4500] = std::nanf("");
  bad[4600] = -std::numeric_limits<float>::infinity();
  std::vector<uint8_t> q4(2 * 18, 0);
  q4[18 + 1] = 0x7E;  // the second block's scale is a NaN
  TensorDirectory tensors;
  ASSERT_TRUE(tensors.Add({"bad", {bad.data(), DType::kF32, {50, 100}}}).ok());
  ASSERT_TRUE(tensors.Add({"q4", {q4.data(), DType::kQ4_0, {64}}}).ok());
  TensorReport report = SampleTensors(tensors);
  EXPECT_EQ(report.num_elements, 5064);
  ASSERT_EQ(report.defects.size(), 2u);
  EXPECT_EQ(report.defects[0].num_nan, 2);
  EXPECT_EQ(report.defects[0].first_index, 4500);
  EXPECT_EQ(report.defects[1].num_nan, 32);
  EXPECT_EQ(report.defects[1].first_index, 32);
  // A budget of half the bytes: runs of 1024 floats, each second one, and the one of the blocks.
  report = SampleTensors(tensors, tensors.TotalBytes() / 2 + 1);
  EXPECT_EQ(report.num_elements, 1024 + 1024 + 904 + 64);
  ASSERT_EQ(report.defects.size(), 2u);
  // Vectors are looked at whole: the second run has a defect.
  std::vector<float> vector(5000, 1.0f);
  vector[1500] = INFINITY;
  ASSERT_TRUE(tensors.Add({"v", {vector.data(), DType::kF32, {5000}}}).ok());
  report = SampleTensors(tensors, tensors.TotalBytes() / 2 + 1);
  ASSERT_EQ(report.defects.size(), 3u);
  EXPECT_EQ(report.defects[2].first_index, 1500);
}

TEST(CheckTensors, SmolLm2_IsHealthy) {
  const std::string path = testing::SmolLm2();
  if (path.empty()) GTEST_SKIP() << "skipped: no SmolLM2";
  const auto file = OpenGguf(path);
  ASSERT_TRUE(file.ok());
  std::vector<int64_t> heard;
  const TensorReport report = CheckTensors(file->tensors, [&](int64_t done, int64_t total) {
    EXPECT_EQ(total, static_cast<int64_t>(file->tensors.TotalBytes()));
    EXPECT_LE(done, total);
    heard.push_back(done);
  });
  EXPECT_EQ(heard.size(), 5u);  // of 96.6 MB, each 16 MiB
  EXPECT_EQ(report.Summary(), "");
  EXPECT_EQ(report.num_elements, 134'515'008);
}

}  // namespace
}  // namespace rill::io
