// What packing notices: numbers that no healthy model has.
#include "backends/cpu/packed_weight.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "backends/cpu/cpu_backend.h"
#include "quant/encode_rows.h"
#include "quant/random_weights.h"
#include "quant/scale_fields.h"
#include "quant/view_rows.h"

namespace rill::cpu {
namespace {

constexpr int64_t kRows = 37, kK = 512;

std::unique_ptr<ops::Backend> Make() {
  auto backend = MakeCpuBackend({.num_threads = 2, .cpu_isa = "scalar"});
  EXPECT_TRUE(backend.ok()) << backend.status().ToString();
  return std::move(backend).value();
}

bool AllFinite(ops::Backend& backend, const ops::WeightSource& source) {
  const auto packed = backend.PackWeight(source);
  EXPECT_TRUE(packed.ok()) << packed.status().ToString();
  return packed.ok() && (*packed)->all_finite();
}

// All bits of a number set: a NaN in every format (of an E8M0 scale, too).
void Spoil(DType dtype, std::vector<uint8_t>& bytes, int64_t block) {
  const DTypeTraits& traits = Traits(dtype);
  uint8_t* at = bytes.data() + block * traits.block_bytes;
  const auto fields = quant::ScaleFieldsOf(dtype);
  if (fields.empty()) {
    std::memset(at, 0xFF, static_cast<size_t>(traits.block_bytes));
  } else {
    const quant::ScaleField& field = fields.back();
    const size_t size = field.type == quant::ScaleType::kF32   ? 4
                        : field.type == quant::ScaleType::kF16 ? 2
                                                               : 1;
    std::memset(at + field.offset, 0xFF, size);
  }
}

TEST(CpuPack, NanInAnyFormat_IsSeen) {
  int formats = 0;
  for (int i = 0; i < kNumDTypes; ++i) {
    const auto dtype = static_cast<DType>(i);
    const bool f8 = dtype == DType::kF8E4M3 || dtype == DType::kF8E5M2;
    if (!f8 && !quant::CanFill(dtype)) continue;
    SCOPED_TRACE(DTypeName(dtype));
    std::vector<uint8_t> bytes(static_cast<size_t>(*RowBytes(dtype, kRows * kK)), 0x11);
    if (!f8) {
      ASSERT_TRUE(quant::FillRandom(dtype, kRows * kK, 0.02f, 5, bytes.data()).ok());
    }
    const auto backend = Make();
    ops::WeightSource source;
    source.parts = {TensorView(bytes.data(), dtype, {kRows, kK})};
    EXPECT_TRUE(AllFinite(*backend, source));
    const int64_t blocks = kRows * kK / Traits(dtype).block_weights;
    for (int64_t block : {blocks - 1, blocks / 2, int64_t{0}}) {  // the last row's panel is ragged
      std::vector<uint8_t> damaged = bytes;
      Spoil(dtype, damaged, block);
      source.parts = {TensorView(damaged.data(), dtype, {kRows, kK})};
      EXPECT_FALSE(AllFinite(*backend, source)) << block;
    }
    ++formats;
  }
  EXPECT_GE(formats, 20);
}

TEST(CpuPack, NanInATableReadInPlace_IsSeen) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ4_0, DType::kQ8_0}) {
    std::vector<uint8_t> bytes(static_cast<size_t>(*RowBytes(dtype, kK) * kRows));
    const int64_t blocks = kRows * kK / Traits(dtype).block_weights;
    for (const int64_t block : {int64_t{-1}, blocks - 1, int64_t{0}}) {
      std::vector<uint8_t> table = bytes;
      if (block >= 0) Spoil(dtype, table, block);
      const auto backend = Make();
      ops::WeightSource source;
      source.matmul = false;
      source.parts = {TensorView(table.data(), dtype, {kRows, kK})};
      EXPECT_EQ(AllFinite(*backend, source), block < 0) << DTypeName(dtype) << " " << block;
    }
  }
}

TEST(CpuPack, NanInWeightsMadeAtLoad_IsSeen) {
  std::vector<float> values(kRows * kK, 0.5f);
  for (const float bad : {std::nanf(""), -INFINITY}) {
    values[20 * kK + 300] = bad;
    const TensorView view(values.data(), DType::kF32, {kRows, kK});
    for (const bool w8 : {true, false}) {
      const auto rows = quant::MakeViewRows({view}, false);
      const auto made = w8 ? quant::MakeW8Rows(rows) : quant::MakeW4Rows(rows);
      ASSERT_TRUE(made.ok());
      const auto backend = Make();
      ops::WeightSource source;
      source.parts = {TensorView(static_cast<const void*>(nullptr), (*made)->dtype(), {kRows, kK})};
      source.readers = {*made};
      EXPECT_FALSE(AllFinite(*backend, source));
    }
  }
}

}  // namespace
}  // namespace rill::cpu
