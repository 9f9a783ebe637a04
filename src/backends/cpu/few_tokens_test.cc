// Products of few tokens, for which panels are decoded in registers: the bits of the same panels
// decoded to f32 first, and of plain code.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/linear_test_util.h"
#include "backends/cpu/tiles.h"
#include "base/float_types.h"
#include "quant/random_weights.h"

namespace rill::cpu {
namespace {

struct Format {
  const char* name;
  FewKernel Kernels::* few;
  DecodeFn Kernels::* decode;
  uint16_t (*encode)(float);
};
const Format kFormats[] = {
    {"f16", &Kernels::few_f16, &Kernels::decode_f16, F32ToF16},
    {"bf16", &Kernels::few_bf16, &Kernels::decode_bf16, F32ToBf16},
};

TEST(FewTokens, PlainPanels_HaveTheBitsOfWidenedOnes) {
  int compared = 0;
  for (const Kernels* kernels : AvailableKernels()) {
    for (const Format& format : kFormats) {
      const FewKernel few = kernels->*format.few;
      if (few.run == nullptr) continue;
      for (int width = 1; width <= few.tile; ++width) {
        if (width > 3 && width % kernels->tile_f32_step != 0) continue;
        for (const int64_t k : {1, 7, 8, 9, 61, 192}) {
          for (const int64_t num_panels : {1, 2, 3, 4, 5, 9}) {
            SCOPED_TRACE(std::string(kernels->name) + " " + format.name + ", k " +
                         std::to_string(k) + ", " + std::to_string(num_panels) + " panels, " +
                         std::to_string(width) + " tokens");
            const auto weights = static_cast<size_t>(num_panels * k * kPanelRows);
            std::vector<uint16_t> panels(weights);
            const std::vector<float> values =
                RandomFloats(static_cast<int64_t>(weights), static_cast<uint32_t>(k + num_panels));
            for (size_t i = 0; i < weights; ++i) panels[i] = format.encode(values[i]);
            const std::vector<float> x = RandomFloats(k * width, 5);
            const auto* bytes = reinterpret_cast<const uint8_t*>(panels.data());
            const int64_t panel_bytes = k * kPanelRows * 2;

            std::vector<float> wide(weights);
            for (int64_t p = 0; p < num_panels; ++p) {
              (kernels->*format.decode)(bytes + p * panel_bytes, k, 1,
                                        wide.data() + p * k * kPanelRows);
            }
            const auto products = static_cast<size_t>(num_panels * width * kPanelRows);
            std::vector<float> got(products + 16, 7.0f);
            few.run(bytes, panel_bytes, num_panels, k, 1, x.data(), width, got.data());
            std::vector<float> row(static_cast<size_t>(k));
            std::vector<float> want(static_cast<size_t>(num_panels * kPanelRows));
            for (int t = 0; t < width; ++t) {
              for (int64_t i = 0; i < k; ++i) {
                row[static_cast<size_t>(i)] = x[static_cast<size_t>(i * width + t)];
              }
              kernels->gemm_f32(wide.data(), k * kPanelRows, num_panels, k, row.data(), 1,
                                want.data());
              for (int64_t p = 0; p < num_panels; ++p) {
                ASSERT_EQ(std::memcmp(got.data() + (p * width + t) * kPanelRows,
                                      want.data() + p * kPanelRows, kPanelRows * sizeof(float)),
                          0)
                    << "token " << t << ", panel " << p;
              }
            }
            for (size_t i = products; i < got.size(); ++i) ASSERT_EQ(got[i], 7.0f);
            ++compared;
          }
        }
      }
    }
  }
  // Only scalar code has no such kernel.
  EXPECT_EQ(compared == 0, AvailableKernels().front()->isa == std::string("scalar"));
}

struct Part {
  DType dtype;
  int64_t rows;
  std::vector<uint8_t> bytes;
};
Part RandomPart(DType dtype, int64_t rows, int64_t k) {
  Part part{dtype, rows, std::vector<uint8_t>(static_cast<size_t>(*RowBytes(dtype, rows * k)))};
  EXPECT_TRUE(quant::FillRandom(dtype, rows * k, 0.05f, 5, part.bytes.data()).ok());
  return part;
}
std::vector<float> Products(const std::string& isa, const std::vector<Part>& parts, int64_t k,
                            const std::vector<float>& x) {
  auto backend = MakeCpuBackend({.num_threads = 1, .cpu_isa = isa});
  EXPECT_TRUE(backend.ok()) << backend.status().ToString();
  ops::WeightSource source;
  source.name = "w";
  int64_t rows = 0;
  for (const Part& part : parts) {
    source.parts.push_back(TensorView(part.bytes.data(), part.dtype, {part.rows, k}));
    rows += part.rows;
  }
  source.activations = ops::ActivationMode::kF32;
  auto weight = (*backend)->PackWeight(source);
  EXPECT_TRUE(weight.ok()) << weight.status().ToString();
  const auto tokens = static_cast<int64_t>(x.size()) / k;
  return Linear(**backend, **weight, x, tokens, rows, k);
}

constexpr int64_t kMost = 26;  // one more than two of the widest tiles, and another

// Of 1 to kMost tokens, on every instruction set.
void ExpectBitsOfPlainCode(const std::vector<Part>& parts, int64_t k, const std::string& name) {
  const std::vector<float> x = RandomFloats(kMost * k, 9);
  const std::vector<float> want = Products("scalar", parts, k, x);
  for (const Kernels* kernels : AvailableKernels()) {
    for (int64_t tokens = 1; tokens <= kMost; ++tokens) {
      const std::vector<float> got =
          Products(kernels->name, parts, k, {x.begin(), x.begin() + tokens * k});
      ASSERT_EQ(std::memcmp(got.data(), want.data(), got.size() * sizeof(float)), 0)
          << kernels->name << ", " << name << ", " << tokens << " tokens";
    }
  }
}

TEST(FewTokens, AnyFormatAndNumber_HasTheBitsOfPlainCode) {
  int num_formats = 0;
  for (int i = 0; i < kNumDTypes; ++i) {
    const auto dtype = static_cast<DType>(i);
    if (!quant::CanFill(dtype)) continue;
    ++num_formats;
    // Panels: two and a part of one; five.
    ExpectBitsOfPlainCode({RandomPart(dtype, 37, 512)}, 512, std::string(DTypeName(dtype)));
    ExpectBitsOfPlainCode({RandomPart(dtype, 80, 256)}, 256, std::string(DTypeName(dtype)));
  }
  EXPECT_GE(num_formats, 20);
}

// Panels of f32 that leave no room in L2 for three tiles of 6 tokens are not made for any number.
TEST(FewTokens, ManyTokensOfALongReduction_HaveTheBitsOfPlainCode) {
  constexpr int64_t kTokens = 31;
  const int64_t k = std::max<int64_t>(8192, (L2Bytes() / 128 + 255) / 256 * 256);
  const std::vector<float> x = RandomFloats(kTokens * k, 3);
  for (const DType dtype : {DType::kQ4_0, DType::kQ4_K, DType::kF16}) {
    const std::vector<Part> parts = {RandomPart(dtype, 20, k)};
    const std::vector<float> want = Products("scalar", parts, k, x);
    for (const Kernels* kernels : AvailableKernels()) {
      const std::vector<float> got = Products(kernels->name, parts, k, x);
      EXPECT_EQ(std::memcmp(got.data(), want.data(), got.size() * sizeof(float)), 0)
          << kernels->name << ", " << DTypeName(dtype);
    }
  }
}

// Formats of one weight share their tiles of tokens, which are as wide as the narrowest kernel's.
TEST(FewTokens, FormatsOfOneWeight_HaveTheBitsOfPlainCode) {
  const Part minima = RandomPart(DType::kQ4_K, 24, 256), wide = RandomPart(DType::kQ6_K, 40, 256);
  const Part f16 = RandomPart(DType::kF16, 16, 256), f32 = RandomPart(DType::kF32, 8, 256);
  ExpectBitsOfPlainCode({minima, wide, f16}, 256, "q4_k, q6_k, f16");
  ExpectBitsOfPlainCode({wide, minima}, 256, "q6_k, q4_k");
  ExpectBitsOfPlainCode({f32, wide, minima}, 256, "f32, q6_k, q4_k");
}

}  // namespace
}  // namespace rill::cpu
