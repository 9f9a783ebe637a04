// The 16-bit sums of vpmaddubsw and smlal (gemm_q8.inl) hold exactly as much as they are meant to:
// codes at the ends of their range times activations of +127 and -127, in patterns that drive
// single places of the vectors as far as they go. Random data come nowhere near. Plain code adds in
// 32 bits.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/linear_test_util.h"
#include "base/float_types.h"
#include "quant/grouped.h"
#include "quant/quantize.h"

namespace rill::cpu {
namespace {

constexpr int64_t kK = 512, kPatterns = 12, kRows = 2 * kPatterns, kTokens = 40;

// Signs of a row by the place of k: in its vector (4 codes), its pair of vectors, its group.
bool IsNegative(int64_t pattern, int64_t k) {
  const bool flip = pattern % 2 == 1;
  switch (pattern / 2) {
    case 0: return flip;
    case 1: return (k % 2 == 1) != flip;
    case 2: return (k % 4 >= 2) != flip;
    case 3: return (k % 32 >= 16) != flip;
    case 4: return (k % 8 >= 4) != flip;
    default: return ((static_cast<uint64_t>(k) * 2654435761u >> 13 & 1) != 0) != flip;
  }
}

// Rows whose codes are the ends of their range.
std::vector<uint8_t> ExtremeRows(DType dtype) {
  const auto row_bytes = static_cast<size_t>(*RowBytes(dtype, kK));
  std::vector<uint8_t> bytes(row_bytes * kRows);
  const quant::GroupedFormat grouped = quant::GroupedFormatOf(dtype);
  for (int64_t r = 0; r < kRows; ++r) {
    uint8_t* const row = bytes.data() + static_cast<size_t>(r) * row_bytes;
    if (grouped.bits == 0) {
      // Symmetric formats reach one end with their largest magnitude, so both signs of each
      // pattern; values near 0 besides, which some formats give codes of the middle.
      float x[kK];
      for (int64_t k = 0; k < kK; ++k) {
        x[k] = IsNegative(r % kPatterns, k) ? -1.0f : r < kPatterns ? 1.0f : 0.0f;
      }
      EXPECT_TRUE(quant::QuantizeRow(dtype, x, kK, row).ok());
      // Encoders end at -127; a file may have -128.
      constexpr int64_t kQ8Block = 34;
      for (int64_t k = 0; dtype == DType::kQ8_0 && k < kK; ++k) {
        uint8_t& code = row[k / 32 * kQ8Block + 2 + k % 32];
        if (code == 0x81) code = 0x80;
      }
      continue;
    }
    const auto block = static_cast<size_t>(Traits(dtype).block_bytes);
    const auto largest = static_cast<uint8_t>((1 << grouped.bits) - 1);
    const uint16_t scale = F32ToF16(0.5f);
    constexpr uint8_t kCodes[] = {0xFF, 0x00, 0x0F, 0xF0, 0x33, 0xCC};
    for (size_t at = 0; at < row_bytes; at += block) {
      for (size_t i = 0; i < block; ++i) {
        row[at + i] = kCodes[static_cast<size_t>(r) % 6] ^ (r % 12 >= 6 && i % 2 == 1 ? 0xFF : 0);
      }
      std::memcpy(row + at, &scale, 2);
      row[at + 2] = r < kPatterns ? largest : 0;  // the zero point
      row[at + 3] = 0;
    }
  }
  return bytes;
}

std::vector<float> Products(const std::string& isa, DType dtype, const std::vector<uint8_t>& bytes,
                            const std::vector<float>& x, int64_t tokens) {
  auto backend = MakeCpuBackend({.num_threads = 1, .cpu_isa = isa});
  EXPECT_TRUE(backend.ok()) << backend.status().ToString();
  ops::WeightSource source;
  source.name = "w";
  source.parts = {TensorView(bytes.data(), dtype, {kRows, kK})};
  source.activations = ops::ActivationMode::kQ8;
  auto weight = (*backend)->PackWeight(source);
  EXPECT_TRUE(weight.ok()) << weight.status().ToString();
  return Linear(**backend, **weight, x, tokens, kRows, kK);
}

TEST(CpuLinear, ExtremeCodesTimesExtremeActivations_OverflowNoSum) {
  std::vector<float> x(static_cast<size_t>(kTokens * kK));
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t k = 0; k < kK; ++k) {
      x[static_cast<size_t>(t * kK + k)] = IsNegative(t % kPatterns, k) ? -127.0f : 127.0f;
    }
  }
  int num_formats = 0;
  for (int i = 0; i < kNumDTypes; ++i) {
    const auto dtype = static_cast<DType>(i);
    if (!IsQuantBlock(dtype)) continue;
    if (!quant::CanQuantize(dtype) && quant::GroupedFormatOf(dtype).bits == 0) continue;
    ++num_formats;
    const std::vector<uint8_t> bytes = ExtremeRows(dtype);
    // One by one, a few, a tile that is not whole, tiles from packed units and in work form.
    for (const int64_t tokens : {int64_t{1}, int64_t{4}, int64_t{7}, kTokens}) {
      const std::vector<float> want = Products("scalar", dtype, bytes, x, tokens);
      for (const Kernels* kernels : AvailableKernels()) {
        const std::vector<float> got = Products(kernels->name, dtype, bytes, x, tokens);
        for (size_t at = 0; at < want.size(); ++at) {
          ASSERT_EQ(got[at], want[at])
              << kernels->name << ", " << DTypeName(dtype) << ", " << tokens << " tokens: token "
              << at / size_t{kRows} << ", row " << at % size_t{kRows};
        }
      }
    }
  }
  EXPECT_GE(num_formats, 20);
}

}  // namespace
}  // namespace rill::cpu
