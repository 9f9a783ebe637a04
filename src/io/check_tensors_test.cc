#include "io/check_tensors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/testing.h"
#include "io/gguf.h"
#include "quant/scale_fields.h"

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
  EXPECT_EQ(report.defects[0].num_nan, 1);
  EXPECT_EQ(report.defects[0].num_inf, 1);
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

// Codes 1 in all blocks but one; OCP Microscaling v1.0: 255 is NaN whatever the codes are, and
// 2^(254 - 127) times 1/2 is finite.
TEST(CheckTensors, MXFP4ScalesOf255_CountAlikeInBothLooks) {
  constexpr size_t kBlockBytes = 17;
  std::vector<uint8_t> bytes(8 * kBlockBytes, 0x11);
  const auto set = [&](size_t block, uint8_t exponent) { bytes[block * kBlockBytes] = exponent; };
  for (size_t b = 0; b < 8; ++b) set(b, 127);
  set(2, 254);  // large, and all its weights are numbers
  set(3, 255);
  set(5, 255);
  std::fill_n(&bytes[5 * kBlockBytes + 1], 16, uint8_t{0});  // NaN by its scale alone
  set(6, 254);
  bytes[6 * kBlockBytes + 4] = 0x71;  // one weight of 6 * 2^127: no f32
  TensorDirectory tensors;
  ASSERT_TRUE(tensors.Add({"mx", {bytes.data(), DType::kMXFP4, {8, 32}}}).ok());
  for (const TensorReport& report : {CheckTensors(tensors), SampleTensors(tensors)}) {
    ASSERT_EQ(report.defects.size(), 1u);
    EXPECT_EQ(report.defects[0].num_nan, 64);
    EXPECT_EQ(report.defects[0].num_inf, 1);
    EXPECT_EQ(report.defects[0].first_index, 3 * 32);
    EXPECT_EQ(report.num_elements, 256);
  }
  for (const size_t healthy : {3, 5, 6}) set(healthy, 127);
  EXPECT_EQ(CheckTensors(tensors).Summary(), "");
  EXPECT_EQ(SampleTensors(tensors).Summary(), "");
}

// Every block format, some of whose blocks have a NaN or an Inf in one scale or in all of them.
TEST(SampleTensors, DamagedScales_CountAsInCheckTensors) {
  for (int i = 0; i < kNumDTypes; ++i) {
    const auto dtype = static_cast<DType>(i);
    const auto fields = quant::ScaleFieldsOf(dtype);
    if (fields.empty()) continue;
    const DTypeTraits& traits = Traits(dtype);
    std::vector<uint8_t> bytes(static_cast<size_t>(9 * traits.block_bytes), 0x21);
    const auto spoil = [&](int64_t block, const quant::ScaleField& field, uint8_t low) {
      uint8_t* at = &bytes[static_cast<size_t>(block * traits.block_bytes + field.offset)];
      if (field.type == quant::ScaleType::kE8M0) {
        at[0] = 0xFF;
        return;
      }
      const size_t size = field.type == quant::ScaleType::kF16 ? 2 : 4;
      std::fill_n(at, size, low);
      at[size - 1] = size == 2 ? 0x7C : 0x7F;
      if (size == 4) at[2] = static_cast<uint8_t>(0x80 | low);
    };
    spoil(2, fields.front(), 1);  // NaN
    spoil(4, fields.back(), 0);   // Inf
    for (const quant::ScaleField& field : fields) spoil(7, field, 1);
    TensorDirectory tensors;
    ASSERT_TRUE(tensors.Add({"t", {bytes.data(), dtype, {9, traits.block_weights}}}).ok());
    const TensorReport all = CheckTensors(tensors), sample = SampleTensors(tensors);
    ASSERT_EQ(all.defects.size(), 1u) << DTypeName(dtype);
    ASSERT_EQ(sample.defects.size(), 1u) << DTypeName(dtype);
    EXPECT_EQ(sample.Summary(), all.Summary()) << DTypeName(dtype);
    EXPECT_EQ(all.defects[0].num_nan + all.defects[0].num_inf, 3 * traits.block_weights)
        << DTypeName(dtype);
    EXPECT_EQ(quant::FindNonFinite(dtype, bytes.data(), 9 * traits.block_weights).bad, 3);
  }
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
