// The CPU backend against itself: every ISA, any number of threads, any number of rows, any page
// size give the same bits. Against quant/: packing loses nothing. (Against the reference kernels:
// tests/conformance.)
#include "backends/cpu/cpu_backend.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <new>
#include <random>
#include <thread>

#include "backends/cpu/context.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/linear_test_util.h"
#include "backends/cpu/packed_weight.h"
#include "base/aligned_vector.h"
#include "base/float_types.h"
#include "quant/dequant.h"
#include "quant/grouped.h"

namespace rill::cpu {
namespace {

using ops::ActivationMode;

constexpr DType kWeightDTypes[] = {
#define DTYPE(Name, name, weights, bytes, gguf)
#define DTYPE_BLOCK(Name, name, weights, bytes, gguf) DType::k##Name,
#define DTYPE_GROUPED(Name, name, weights, bytes, gguf) DType::k##Name,
#include "tensor/dtype_list.def"
#undef DTYPE
#undef DTYPE_BLOCK
#undef DTYPE_GROUPED
    DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3, DType::kF8E5M2};

// Offsets of the f16 fields of one block, so that random bytes do not make scales of Inf and NaN.
std::vector<int> F16Fields(DType dtype) {
  switch (dtype) {
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K: return {0, 2};
    case DType::kQ2_K: return {80, 82};
    case DType::kQ3_K: return {108};
    case DType::kQ6_K: return {208};
    case DType::kTQ1_0: return {52};
    case DType::kTQ2_0: return {64};
    case DType::kQ8_K:
    case DType::kMXFP4: return {};
    default: return {0};
  }
}

std::vector<uint8_t> RandomRows(DType dtype, int64_t rows, int64_t k, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  std::vector<uint8_t> bytes(static_cast<size_t>(*RowBytes(dtype, k) * rows));
  const DTypeTraits& traits = Traits(dtype);
  for (auto& b : bytes) b = static_cast<uint8_t>(rng());
  for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(traits.block_bytes)) {
    const float value = normal(rng);
    const uint16_t half = F32ToF16(value), brain = F32ToBf16(value);
    if (dtype == DType::kF32) {
      std::memcpy(&bytes[at], &value, 4);
    } else if (dtype == DType::kF16) {
      std::memcpy(&bytes[at], &half, 2);
    } else if (dtype == DType::kBF16) {
      std::memcpy(&bytes[at], &brain, 2);
    } else if (dtype == DType::kF8E4M3 || dtype == DType::kF8E5M2) {
      bytes[at] &= 0xBF;  // no NaN, no Inf
    } else if (dtype == DType::kQ8_K) {
      std::memcpy(&bytes[at], &value, 4);
    } else if (dtype == DType::kMXFP4) {
      bytes[at] = static_cast<uint8_t>(120 + rng() % 16);
    } else {
      for (int field : F16Fields(dtype)) {
        const uint16_t scale = F32ToF16(normal(rng));
        std::memcpy(&bytes[at + static_cast<size_t>(field)], &scale, 2);
      }
      if (const int bits = quant::GroupedFormatOf(dtype).bits) {  // a zero point
        bytes[at + 2] &= static_cast<uint8_t>((1 << bits) - 1);
        bytes[at + 3] = 0;
      }
    }
  }
  return bytes;
}

std::vector<std::string> Isas() {
  std::vector<std::string> names;
  for (const Kernels* k : AvailableKernels()) names.emplace_back(k->name);
  return names;
}

std::unique_ptr<ops::Backend> Make(const std::string& isa, int threads) {
  auto backend = MakeCpuBackend({.num_threads = threads, .cpu_isa = isa});
  EXPECT_TRUE(backend.ok()) << backend.status().ToString();
  return std::move(backend).value();
}

void ExpectSameBits(const std::vector<float>& a, const std::vector<float>& b,
                    const std::string& what) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    ASSERT_EQ(std::memcmp(&a[i], &b[i], 4), 0)
        << what << ", element " << i << ": " << a[i] << ", " << b[i];
  }
}

TEST(CpuContext, ForPieces_CoversEachIndexOnceAndTakesOverFromAWorkerThatIsSlow) {
  for (int workers : {1, 2, 5}) {
    Context context(AvailableKernels().back(), workers);
    for (int64_t count : {0, 1, 2, 7, 64, 1000}) {
      for (int64_t grain : {1, 3, 16}) {
        std::vector<std::atomic<int>> hits(static_cast<size_t>(count));
        context.ForPieces(count, grain, [&](int worker, int64_t begin, int64_t end) {
          EXPECT_TRUE(worker >= 0 && worker < workers);
          EXPECT_EQ(begin % grain, 0);
          for (int64_t i = begin; i < end; ++i) hits[static_cast<size_t>(i)]++;
        });
        for (auto& h : hits) ASSERT_EQ(h.load(), 1);
      }
    }
  }
  Context context(AvailableKernels().back(), 2);
  std::atomic<int> done = 0, slow_before = 0, by_worker[2] = {};
  std::atomic<int> slow = -1;
  context.ForPieces(100, 1, [&](int worker, int64_t begin, int64_t) {
    const int before = by_worker[worker]++;
    if (begin == 0) {
      slow = worker;
      slow_before = before;
    }
    // Whoever begins the first share loses its CPU for as long as the rest takes.
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (begin == 0 && done < 99 && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ++done;
  });
  EXPECT_EQ(by_worker[0] + by_worker[1], 100);
  ASSERT_GE(slow, 0);
  EXPECT_EQ(by_worker[slow], slow_before + 1);
}

TEST(CpuPack, EveryFormat_DecodesLikeQuant) {
  constexpr int64_t kRows = 37, kK = 512;
  for (const Kernels* kernels : AvailableKernels()) {
    for (DType dtype : kWeightDTypes) {
      SCOPED_TRACE(std::string(kernels->name) + " " + std::string(DTypeName(dtype)));
      const auto bytes = RandomRows(dtype, kRows, kK, 7);
      std::vector<float> expected(kRows * kK);
      ASSERT_TRUE(quant::DequantizeRow(dtype, bytes.data(), kRows * kK, expected.data()).ok());
      ThreadPool pool(1);
      WeightMemory memory;
      ops::WeightSource source;
      source.name = "w";
      source.parts = {TensorView(bytes.data(), dtype, {kRows, kK})};
      auto weight = CpuWeight::Pack(source, pool, memory);
      ASSERT_TRUE(weight.ok()) << weight.status().ToString();
      const CpuWeight::Segment& s = (*weight)->segments()[0];
      std::vector<float> panel(kPanelRows * kK);
      for (int64_t row = 0; row < kRows; ++row) {
        if (row % kPanelRows == 0) {
          const uint8_t* data = s.Panel(0, row / kPanelRows);
          DecodeFn decode = s.exec != ExecId::kNone ? kernels->exec[static_cast<int>(s.exec)].decode
                            : s.dtype == DType::kF16  ? kernels->decode_f16
                            : s.dtype == DType::kBF16 ? kernels->decode_bf16
                                                      : nullptr;
          if (decode != nullptr) {
            decode(data, kK, s.group_units, panel.data());
          } else {
            std::memcpy(panel.data(), data, panel.size() * 4);
          }
        }
        for (int64_t i = 0; i < kK; ++i) {
          ASSERT_EQ(panel[static_cast<size_t>(i * kPanelRows + row % kPanelRows)],
                    expected[static_cast<size_t>(row * kK + i)])
              << "row " << row << ", k " << i;
        }
      }
    }
  }
}

TEST(CpuPack, PackedBytes_AreAtMostThreePercentMoreThanTheFiles) {
  constexpr int64_t kK = 2048;
  ThreadPool pool(1);
  WeightMemory memory;
  for (DType dtype : kWeightDTypes) {
    const auto bytes = RandomRows(dtype, kPanelRows, kK, 7);
    ops::WeightSource source;
    source.name = "w";
    source.parts = {TensorView(bytes.data(), dtype, {kPanelRows, kK})};
    auto weight = CpuWeight::Pack(source, pool, memory);
    ASSERT_TRUE(weight.ok()) << weight.status().ToString();
    double file = static_cast<double>(*RowBytes(dtype, kK) * kPanelRows);
    if (const auto [bits, group] = quant::GroupedFormatOf(dtype); bits > 0) {
      // A checkpoint's own: codes, an f16 scale and a zero point as wide as a code.
      file = kPanelRows * kK * (bits + (16.0 + bits) / group) / 8;
    }
    const double panel = static_cast<double>((*weight)->segments()[0].panel_bytes);
    // Ternary weights take 2 bits (1.6 in the file), f8 takes 16; zero points of 2 and 3 bits take
    // 8, and so do 4-bit and 6-bit group scales of q2_k and q3_k.
    if (dtype == DType::kQ2_K) continue;
    if (dtype == DType::kU2G32 || dtype == DType::kU2G64 || dtype == DType::kU3G32) continue;
    if (dtype == DType::kTQ1_0 || dtype == DType::kF8E4M3 || dtype == DType::kF8E5M2) continue;
    EXPECT_LE(panel, file * (dtype == DType::kQ3_K ? 1.04 : 1.03)) << DTypeName(dtype);
  }
}

std::vector<float> RunLinear(ops::Backend& backend, ops::PackedWeight& w,
                             const std::vector<float>& x, int64_t tokens,
                             const std::vector<float>* bias = nullptr) {
  std::vector<float> y(static_cast<size_t>(tokens * w.rows()));
  ops::LinearArgs args;
  args.x = TensorView(x.data(), DType::kF32, {tokens, w.cols()});
  args.w = &w;
  if (bias) args.bias = TensorView(bias->data(), DType::kF32, {w.rows()});
  args.y = MutableTensorView(y.data(), DType::kF32, {tokens, w.rows()});
  backend.ops().linear(args, backend.stream());
  return y;
}

TEST(CpuLinear, EveryFormatAndMode_SameBitsOnEveryIsaThreadCountAndBatch) {
  constexpr int64_t kRows = 75, kK = 512, kTokens = 37;
  const std::vector<float> x = RandomFloats(kTokens * kK, 3);
  for (DType dtype : kWeightDTypes) {
    const auto bytes = RandomRows(dtype, kRows, kK, 11);
    for (ActivationMode mode : {ActivationMode::kF32, ActivationMode::kQ8}) {
      std::vector<float> expected;
      for (const std::string& isa : Isas()) {
        for (int threads : {1, 3}) {
          auto backend = Make(isa, threads);
          ops::WeightSource source;
          source.name = "w";
          source.parts = {TensorView(bytes.data(), dtype, {kRows, kK})};
          source.activations = mode;
          auto w = backend->PackWeight(source);
          ASSERT_TRUE(w.ok()) << w.status().ToString();
          const std::string what =
              isa + " " + (*w)->Describe() + " threads " + std::to_string(threads);
          const auto y = RunLinear(*backend, **w, x, kTokens);
          if (expected.empty()) expected = y;
          ExpectSameBits(expected, y, what);
          for (int64_t batch : {1, 2, 3, 4, 7, 18}) {  // row 5 on, alone and in company
            const std::vector<float> part(x.begin() + 5 * kK, x.begin() + (5 + batch) * kK);
            const std::vector<float> want(expected.begin() + 5 * kRows,
                                          expected.begin() + (5 + batch) * kRows);
            ExpectSameBits(want, RunLinear(*backend, **w, part, batch),
                           what + " batch " + std::to_string(batch));
          }
        }
      }
    }
  }
}

// Q8_0 rows that meet int8 activations.
std::unique_ptr<ops::PackedWeight> PackQ8(ops::Backend& backend, const std::vector<uint8_t>& bytes,
                                          int64_t rows, int64_t k) {
  ops::WeightSource source;
  source.name = "w";
  source.parts = {TensorView(bytes.data(), DType::kQ8_0, {rows, k})};
  source.activations = ActivationMode::kQ8;
  auto weight = backend.PackWeight(source);
  EXPECT_TRUE(weight.ok()) << weight.status().ToString();
  return std::move(weight).value();
}

// Enough logits to go past the caches, which they do where rows begin at whole lines.
TEST(CpuLinear, ManyLogits_AreThoseOfEachRowAlone) {
  constexpr int64_t kRows = 16401, kK = 64, kRoom = 32;
  constexpr int64_t kTokens = kLeastPastBytes / (kRows * 4) + 2;
  const std::vector<float> x = RandomFloats(kTokens * kK, 3), bias = RandomFloats(kRows, 5);
  const auto bytes = RandomRows(DType::kQ8_0, kRows, kK, 11);
  const std::vector<int32_t> all(kTokens, 1);
  std::vector<int32_t> ids(kTokens);
  std::vector<float> best(kTokens);
  for (const std::string& isa : Isas()) {
    auto backend = Make(isa, 3);
    auto w = PackQ8(*backend, bytes, kRows, kK);
    std::vector<std::vector<float>> expected;
    for (int64_t t = 0; t < kTokens; ++t) {
      expected.push_back(
          RunLinear(*backend, *w, {x.begin() + t * kK, x.begin() + (t + 1) * kK}, 1, &bias));
    }
    for (const int64_t stride : {kRows, kRows + 15}) {  // the second is whole lines
      for (const int64_t offset : {16, 17}) {
        AlignedVector<float> y(static_cast<size_t>(kTokens * stride + kRoom), -1.0f);
        ops::LogitsArgs args;
        args.x = TensorView(x.data(), DType::kF32, {kTokens, kK});
        args.w = w.get();
        args.bias = TensorView(bias.data(), DType::kF32, {kRows});
        args.wanted = TensorView(all.data(), DType::kI32, {kTokens});
        args.y = MutableTensorView(y.data() + offset, DType::kF32, {kTokens, kRows});
        args.y.strides[0] = stride;
        args.best_id = MutableTensorView(ids.data(), DType::kI32, {kTokens});
        args.best = MutableTensorView(best.data(), DType::kF32, {kTokens});
        backend->ops().logits(args, backend->stream());
        const float* at = y.data();
        for (; at < y.data() + offset; ++at) ASSERT_EQ(*at, -1.0f) << "before the first";
        for (const auto& row : expected) {
          ExpectSameBits(row, {at, at + kRows}, isa);
          for (int64_t i = kRows; i < stride; ++i) ASSERT_EQ(at[i], -1.0f) << "between rows";
          at += stride;
        }
        for (; at < y.data() + y.size(); ++at) ASSERT_EQ(*at, -1.0f) << "behind the last";
      }
    }
  }
}

// Of many rows and many panels, by whichever thread: the first of the largest logits of each row,
// and the first that is not finite.
TEST(CpuLinear, BestLogits_AreThoseOfTheRows) {
  constexpr int64_t kRows = 1200, kK = 64, kTokens = 37;
  std::vector<float> x = RandomFloats(kTokens * kK, 3);
  std::fill_n(x.begin() + 4 * kK, kK, 0.0f);  // a row of ties
  x[9 * kK + 5] = std::numeric_limits<float>::quiet_NaN();
  auto bytes = RandomRows(DType::kQ8_0, kRows, kK, 11);
  // The largest of all rows twice, in panels far apart, and a bias that is not finite far behind.
  const size_t row_bytes = bytes.size() / kRows;
  std::copy_n(bytes.begin(), row_bytes, bytes.end() - static_cast<ptrdiff_t>(2 * row_bytes));
  for (const bool has_bad_bias : {false, true}) {
    std::vector<float> bias(kRows);
    bias[0] = bias[kRows - 2] = 1e6f;
    if (has_bad_bias) bias[700] = bias[1000] = -std::numeric_limits<float>::infinity();
    for (const std::string& isa : Isas()) {
      for (const int threads : {1, 3}) {
        auto backend = Make(isa, threads);
        auto w = PackQ8(*backend, bytes, kRows, kK);
        const auto rows = RunLinear(*backend, *w, x, kTokens, &bias);
        std::vector<int32_t> wanted(kTokens), ids(kTokens, 7);
        for (size_t t = 0; t < kTokens; t += 6) wanted[t] = 1;
        std::vector<float> y(kTokens * kRows, -1.0f), best(kTokens);
        ops::LogitsArgs args;
        args.x = TensorView(x.data(), DType::kF32, {kTokens, kK});
        args.w = w.get();
        args.bias = TensorView(bias.data(), DType::kF32, {kRows});
        args.wanted = TensorView(wanted.data(), DType::kI32, {kTokens});
        args.y = MutableTensorView(y.data(), DType::kF32, {kTokens, kRows});
        args.best_id = MutableTensorView(ids.data(), DType::kI32, {kTokens});
        args.best = MutableTensorView(best.data(), DType::kF32, {kTokens});
        backend->ops().logits(args, backend->stream());
        for (size_t t = 0; t < kTokens; ++t) {
          SCOPED_TRACE(isa + " row " + std::to_string(t));
          const std::vector<float> row(rows.begin() + static_cast<ptrdiff_t>(t * kRows),
                                       rows.begin() + static_cast<ptrdiff_t>((t + 1) * kRows));
          const std::vector<float> got(y.begin() + static_cast<ptrdiff_t>(t * kRows),
                                       y.begin() + static_cast<ptrdiff_t>((t + 1) * kRows));
          if (wanted[t] != 0) {
            ExpectSameBits(row, got, isa);
            EXPECT_EQ(ids[t], -1);
            EXPECT_EQ(best[t], 0);
            continue;
          }
          ExpectSameBits(std::vector<float>(kRows, -1.0f), got, isa);
          const auto bad =
              std::find_if(row.begin(), row.end(), [](float v) { return !std::isfinite(v); });
          const auto want = bad != row.end() ? bad : std::max_element(row.begin(), row.end());
          EXPECT_EQ(ids[t], want - row.begin());
          ExpectSameBits({*want}, {best[t]}, isa);
          if (t != 9) {
            EXPECT_EQ(ids[t], has_bad_bias ? 700 : 0);
          }
        }
      }
    }
  }
}

// The formula of ops/linear.h in plain scalar code, from decoded weights.
TEST(CpuLinear, F32Mode_IsOneFmaChain) {
  constexpr int64_t kRows = 20, kK = 96;
  for (DType dtype : {DType::kQ4_1, DType::kF32, DType::kBF16}) {
    const auto bytes = RandomRows(dtype, kRows, kK, 5);
    const std::vector<float> x = RandomFloats(2 * kK, 9);
    std::vector<float> w(kRows * kK), want;
    ASSERT_TRUE(quant::DequantizeRow(dtype, bytes.data(), kRows * kK, w.data()).ok());
    for (int64_t t = 0; t < 2; ++t) {
      for (int64_t n = 0; n < kRows; ++n) {
        float acc = 0;
        for (int64_t k = 0; k < kK; ++k) {
          acc =
              std::fma(x[static_cast<size_t>(t * kK + k)], w[static_cast<size_t>(n * kK + k)], acc);
        }
        want.push_back(acc);
      }
    }
    auto backend = Make("", 2);
    ops::WeightSource source;
    source.name = "w";
    source.parts = {TensorView(bytes.data(), dtype, {kRows, kK})};
    auto packed = backend->PackWeight(source);
    ASSERT_TRUE(packed.ok());
    ExpectSameBits(want, RunLinear(*backend, **packed, x, 2), std::string(DTypeName(dtype)));
  }
}

// Q4_1 x q8 as written at the head of gemm_q8.inl.
TEST(CpuLinear, Q8Mode_FollowsItsFormula) {
  constexpr int64_t kRows = 18, kK = 128;
  const auto bytes = RandomRows(DType::kQ4_1, kRows, kK, 5);
  const std::vector<float> x = RandomFloats(kK, 9);
  std::vector<float> want;
  for (int64_t n = 0; n < kRows; ++n) {
    float acc = 0;
    for (int64_t g = 0; g < kK / 32; ++g) {
      const uint8_t* block = &bytes[static_cast<size_t>((n * kK / 32 + g) * 20)];
      uint16_t s, m;
      std::memcpy(&s, block, 2);
      std::memcpy(&m, block + 2, 2);
      float largest = 0;
      for (int i = 0; i < 32; ++i)
        largest = std::max(largest, std::fabs(x[static_cast<size_t>(g * 32 + i)]));
      const float d = largest / 127.0f;
      int dot = 0, sum = 0;
      for (int i = 0; i < 32; ++i) {
        const int a = static_cast<int>(
            std::nearbyint(x[static_cast<size_t>(g * 32 + i)] * (127.0f / largest)));
        const int code = i < 16 ? block[4 + i] & 15 : block[4 + i - 16] >> 4;
        dot += a * code;
        sum += a;
      }
      acc = std::fma(static_cast<float>(dot), F16ToF32(s) * d, acc);
      acc = std::fma(F16ToF32(m), d * static_cast<float>(sum), acc);
    }
    want.push_back(acc);
  }
  auto backend = Make("", 1);
  ops::WeightSource source;
  source.name = "w";
  source.parts = {TensorView(bytes.data(), DType::kQ4_1, {kRows, kK})};
  source.activations = ActivationMode::kQ8;
  auto packed = backend->PackWeight(source);
  ASSERT_TRUE(packed.ok());
  ExpectSameBits(want, RunLinear(*backend, **packed, x, 1), "q4_1");
}

// Layouts whose group comes from the weight: W<bits>Zero, W4, W8 with groups of 32, 64, 128 and the
// row, by the formula of gemm_q8.inl with activations quantised per group.
TEST(CpuLinear, WideLayouts_FollowTheirFormulaOnEveryKernel) {
  constexpr int64_t kK = 320, kUnits = kK / kUnit;
  constexpr int kTokens = 16;
  const std::vector<float> x = RandomFloats(kTokens * kK, 21);
  const float* rows_x[kTokens];
  for (int t = 0; t < kTokens; ++t) rows_x[t] = x.data() + t * kK;
  for (ExecId exec : {ExecId::kW4Zero, ExecId::kW2Zero, ExecId::kW3Zero, ExecId::kW8Zero,
                      ExecId::kW4, ExecId::kW8}) {
    const ExecFormat format = FormatOf(exec);
    for (int64_t group : {int64_t{1}, int64_t{2}, int64_t{4}, kUnits}) {
      const int64_t groups = (kUnits + group - 1) / group;
      std::mt19937 rng(5);
      std::vector<uint8_t> codes(kPanelRows * kK), zeros(static_cast<size_t>(kPanelRows * groups));
      std::vector<float> scales(static_cast<size_t>(kPanelRows * groups));
      for (auto& c : codes) c = static_cast<uint8_t>(rng() % (1u << format.bits));
      for (auto& z : zeros) z = static_cast<uint8_t>(rng() % (1u << format.bits));
      // What is hardest to hold: code and zero point as far apart as can be.
      std::fill_n(codes.begin(), kK, static_cast<uint8_t>((1u << format.bits) - 1));
      std::fill_n(zeros.begin(), groups, uint8_t{0});
      std::fill_n(codes.begin() + kK, kK, uint8_t{0});
      std::fill_n(zeros.begin() + groups, groups, static_cast<uint8_t>((1u << format.bits) - 1));
      for (auto& s : scales) s = F16ToF32(F32ToF16(static_cast<float>(rng() % 1000) * 1e-4f));
      WideRow rows[kPanelRows];
      for (int r = 0; r < kPanelRows; ++r) {
        rows[r] = {codes.data() + r * kK, scales.data() + r * groups, zeros.data() + r * groups};
      }
      const auto value = [&](int r, int64_t i) {
        const int c = codes[static_cast<size_t>(r * kK + i)];
        if (exec == ExecId::kW8) return static_cast<int>(static_cast<int8_t>(c));
        if (exec == ExecId::kW4) return c - 8;
        return c - zeros[static_cast<size_t>(r * groups + i / kUnit / group)];
      };
      std::vector<float> want;
      for (int t = 0; t < kTokens; ++t) {
        for (int r = 0; r < kPanelRows; ++r) {
          float acc = 0;
          for (int64_t g = 0; g < groups; ++g) {
            const int64_t begin = g * group * kUnit, end = std::min(kK, begin + group * kUnit);
            float largest = 0;
            for (int64_t i = begin; i < end; ++i)
              largest = std::max(largest, std::fabs(rows_x[t][i]));
            int dot = 0;
            for (int64_t i = begin; i < end; ++i) {
              dot +=
                  value(r, i) * static_cast<int>(std::nearbyint(rows_x[t][i] * (127.0f / largest)));
            }
            acc = std::fma(static_cast<float>(dot),
                           scales[static_cast<size_t>(r * groups + g)] * (largest / 127.0f), acc);
          }
          want.push_back(acc);
        }
      }
      std::vector<uint8_t> panel(static_cast<size_t>(PanelBytes(exec, kK, group)) + 64);
      PackWidePanel(exec, rows, kK, group, panel.data());
      for (const Kernels* kernels : AvailableKernels()) {
        SCOPED_TRACE(std::string(kernels->name) + " bits " + std::to_string(format.bits) +
                     " group " + std::to_string(group * kUnit));
        const ExecKernels& e = kernels->exec[static_cast<int>(exec)];
        std::vector<float> decoded(kPanelRows * kK);
        e.decode(panel.data(), kK, group, decoded.data());
        for (int r = 0; r < kPanelRows; ++r) {
          for (int64_t i = 0; i < kK; ++i) {
            ASSERT_EQ(decoded[static_cast<size_t>(i * kPanelRows + r)],
                      static_cast<float>(value(r, i)) *
                          scales[static_cast<size_t>(r * groups + i / kUnit / group)]);
          }
        }
        const auto tile = [&](std::vector<uint8_t>& memory, int width, TileLayout layout) {
          memory.assign(static_cast<size_t>(width * (kK + groups * 12)) + 64, 0xEE);
          QuantTile q{};
          q.codes = reinterpret_cast<int8_t*>(memory.data());
          q.scale = reinterpret_cast<float*>(memory.data() + width * kK);
          q.scaled_sum = q.scale + groups * width;
          q.neg_sum = reinterpret_cast<int32_t*>(q.scaled_sum + groups * width);
          kernels->quantize(rows_x, std::min(width, kTokens), width, 0, kUnits, group, layout, q);
          return q;
        };
        const auto expect = [&](const std::vector<float>& got, int width) {
          for (int t = 0; t < width; ++t) {
            for (int r = 0; r < kPanelRows; ++r) {
              ASSERT_EQ(got[static_cast<size_t>(t * kPanelRows + r)],
                        want[static_cast<size_t>(t * kPanelRows + r)])
                  << "token " << t << " of " << width << ", row " << r;
            }
          }
        };
        std::vector<uint8_t> memory;
        for (int width = 1; width <= kernels->gemv_q8_width;
             width += std::max(1, kernels->gemv_q8_width - 1)) {
          std::vector<float> out(static_cast<size_t>(width * kPanelRows));
          e.gemv_q8(panel.data(), 0, 1, kK, group, tile(memory, width, TileLayout::kQuads), width,
                    out.data());
          expect(out, width);
        }
        std::vector<uint8_t> work(static_cast<size_t>(WorkBytes(format, kK, group)));
        if (e.expand != nullptr) e.expand(panel.data(), kK, group, work.data());
        for (int width = kernels->packed_q8_step;
             e.gemm_packed != nullptr && width <= kernels->tile_q8;
             width += kernels->packed_q8_step) {
          for (bool leaves_work : {false, true}) {
            if (leaves_work && width < kernels->tile_q8) continue;
            std::vector<float> out(static_cast<size_t>(width * kPanelRows));
            std::vector<uint8_t> left(work.size());
            PackedGemm g;
            g.panels = panel.data();
            g.k = kK;
            g.group_units = group;
            g.x = tile(memory, width, kernels->layout_q8);
            g.width = width;
            g.out = out.data();
            g.work = leaves_work ? left.data() : nullptr;
            e.gemm_packed(g);
            expect(out, width);
            if (leaves_work) {
              ASSERT_EQ(left, work) << "the work form of expand";
            }
          }
        }
        if (e.gemm_work == nullptr) continue;
        for (int width = kernels->tile_q8_step; width <= kernels->tile_q8;
             width += kernels->tile_q8_step) {
          std::vector<float> out(static_cast<size_t>(width * kPanelRows));
          WorkGemm g;
          g.panels = work.data();
          g.k = kK;
          g.group_units = group;
          g.num_groups = groups;
          g.x = tile(memory, width, kernels->layout_q8);
          g.width = width;
          g.out = out.data();
          for (; g.unit0 < kUnits; g.unit0 = g.unit1) {  // in two parts
            g.unit1 = g.unit0 == 0 && group <= 4 ? 4 : kUnits;
            e.gemm_work(g);
          }
          expect(out, width);
        }
      }
    }
  }
}

TEST(CpuLinear, NanAndInf_StayInTheirRow) {
  constexpr int64_t kRows = 32, kK = 64;
  for (ActivationMode mode : {ActivationMode::kF32, ActivationMode::kQ8}) {
    const auto bytes = RandomRows(DType::kQ8_0, kRows, kK, 5);
    std::vector<float> x = RandomFloats(3 * kK, 9);
    auto backend = Make("", 1);
    ops::WeightSource source;
    source.name = "w";
    source.parts = {TensorView(bytes.data(), DType::kQ8_0, {kRows, kK})};
    source.activations = mode;
    auto packed = backend->PackWeight(source);
    ASSERT_TRUE(packed.ok());
    const auto clean = RunLinear(*backend, **packed, x, 3);
    for (float bad : {NAN, INFINITY}) {
      x[kK + 3] = bad;
      const auto y = RunLinear(*backend, **packed, x, 3);
      for (int64_t n = 0; n < kRows; ++n) {
        EXPECT_EQ(y[static_cast<size_t>(n)], clean[static_cast<size_t>(n)]);
        EXPECT_FALSE(std::isfinite(y[static_cast<size_t>(kRows + n)]));
        EXPECT_EQ(y[static_cast<size_t>(2 * kRows + n)], clean[static_cast<size_t>(2 * kRows + n)]);
      }
    }
  }
}

// A cache of one sequence, filled by kv_append in the given chunks, attended to on the way.
std::vector<float> Attend(ops::Backend& backend, quant::KvFormat format, int32_t page_size,
                          const std::vector<int32_t>& chunks, int32_t window) {
  constexpr int32_t kHeads = 6, kKvHeads = 2, kDim = 40, kVDim = 24;
  int32_t total = 0;
  for (int32_t n : chunks) total += n;
  const auto q = RandomFloats(int64_t{total} * kHeads * kDim, 1);
  const auto k = RandomFloats(int64_t{total} * kKvHeads * kDim, 2);
  const auto v = RandomFloats(int64_t{total} * kKvHeads * kVDim, 3);
  std::vector<float> y(static_cast<size_t>(total) * kHeads * kVDim);
  PagedKvView kv;
  kv.layout = {.format = format,
               .num_layers = 2,
               .num_kv_heads = kKvHeads,
               .k_dim = kDim,
               .v_dim = kVDim,
               .page_size = page_size};
  kv.num_pages = total / page_size + 3;
  auto buffer = backend.Allocate(kv.num_pages * kv.layout.page_bytes());
  EXPECT_TRUE(buffer.ok());
  kv.base = (*buffer)->data();
  // Unwritten positions may hold anything: NaN here.
  std::memset(kv.base, 0xFF, static_cast<size_t>((*buffer)->size_bytes()));
  std::vector<int32_t> table;
  for (int32_t p = 0; p < kv.num_pages; ++p) table.push_back(kv.num_pages - 1 - p);
  kv.num_seqs = 1;
  kv.max_pages = kv.num_pages;
  kv.page_table = table.data();
  int32_t done = 0;
  for (int32_t n : chunks) {
    const int32_t offsets[2] = {0, n};
    const int32_t len = done + n;
    kv.q_offsets = offsets;
    kv.kv_lens = &len;
    ops::KvAppendArgs append;
    append.k = TensorView(&k[static_cast<size_t>(done) * kKvHeads * kDim], DType::kF32,
                          {n, kKvHeads, kDim});
    append.v = TensorView(&v[static_cast<size_t>(done) * kKvHeads * kVDim], DType::kF32,
                          {n, kKvHeads, kVDim});
    append.kv = &kv;
    append.layer = 1;
    backend.ops().kv_append(append, backend.stream());
    ops::PagedAttentionArgs args;
    args.q =
        TensorView(&q[static_cast<size_t>(done) * kHeads * kDim], DType::kF32, {n, kHeads, kDim});
    args.kv = &kv;
    args.y = MutableTensorView(&y[static_cast<size_t>(done) * kHeads * kVDim], DType::kF32,
                               {n, kHeads, kVDim});
    args.layer = 1;
    args.score_scale = 0.2f;
    args.window = window;
    backend.ops().paged_attention(args, backend.stream());
    done += n;
  }
  return y;
}

TEST(CpuAttention, SameBitsForAnyChunkingPageSizeThreadsAndIsa) {
  for (int i = 0; i < quant::kNumKvFormats; ++i) {
    const auto format = static_cast<quant::KvFormat>(i);
    for (int32_t window : {0, 50}) {
      std::vector<float> expected;
      for (const std::string& isa : Isas()) {
        for (int threads : {1, 3}) {
          auto backend = Make(isa, threads);
          for (int32_t page_size : {16, 64, 128}) {
            for (const std::vector<int32_t>& chunks :
                 {std::vector<int32_t>{150}, {1, 64, 85}, {100, 1, 1, 1, 47}}) {
              const auto y = Attend(*backend, format, page_size, chunks, window);
              for (float f : y) ASSERT_TRUE(std::isfinite(f));
              if (expected.empty()) expected = y;
              ExpectSameBits(expected, y, isa + " page " + std::to_string(page_size));
            }
          }
        }
      }
    }
  }
}

// Long enough for three spans, which several threads share.
TEST(CpuAttention, SpansAcrossThreads_SameBits) {
  for (const auto format : {quant::KvFormat::kInt8, quant::KvFormat::kF16}) {
    std::vector<float> expected;
    for (int threads : {1, 2, 3, 7}) {
      auto backend = Make("", threads);
      for (const std::vector<int32_t>& chunks :
           {std::vector<int32_t>{530}, {300, 1, 1, 228}, {511, 1, 1, 1, 16}}) {
        const auto y = Attend(*backend, format, 64, chunks, 0);
        if (expected.empty()) expected = y;
        ExpectSameBits(expected, y, std::to_string(threads) + " threads");
      }
    }
  }
}

// A lane that fails keeps no other one waiting for its end.
TEST(CpuLanes, OneWithoutMemory_EndsTheOthers) {
  auto backend = Make("", 2);
  if (backend->lanes().count < 2) GTEST_SKIP() << "skipped: no lanes on this instruction set";
  for (const int failing : {0, 1}) {
    std::atomic<int> begun{0};
    EXPECT_THROW(backend->ForEach(2,
                                  [&](int64_t lane, int) {
                                    backend->RunLane(static_cast<int>(lane), [&](ops::Stream&) {
                                      ++begun;
                                      if (lane == failing) throw std::bad_alloc();
                                    });
                                  }),
                 std::bad_alloc);
    EXPECT_EQ(begun.load(), 2);
  }
}

TEST(CpuKernels, UnknownIsa_IsRefusedWithTheNamesThereAre) {
  auto backend = MakeCpuBackend({.cpu_isa = "mmx"});
  ASSERT_FALSE(backend.ok());
  EXPECT_EQ(backend.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(backend.status().message().find("scalar"), std::string::npos);
}

}  // namespace
}  // namespace rill::cpu
