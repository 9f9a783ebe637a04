// Fused operators give the bits of the operators that they stand for, with every instruction set,
// number of threads and number of tokens.
#include <gtest/gtest.h>

#include <cstring>

#include "backends/cpu/context.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/linear_test_util.h"
#include "quant/random_weights.h"

namespace rill::cpu {
namespace {

using ops::ActivationMode;

constexpr int64_t kHidden = 256, kSize = 512;

struct Matrix {
  std::vector<std::byte> bytes;
  std::unique_ptr<ops::PackedWeight> packed;

  Matrix(ops::Backend& backend, DType dtype, int64_t rows, int64_t cols, bool paired,
         ActivationMode mode) {
    bytes.resize(static_cast<size_t>(rows * *RowBytes(dtype, cols)));
    EXPECT_TRUE(quant::FillRandom(dtype, rows * cols, 0.05f, 7, bytes.data()).ok());
    ops::WeightSource source;
    source.name = "w";
    source.paired = paired;
    source.activations = mode;
    const int64_t parts = paired ? 2 : 1;
    for (int64_t i = 0; i < parts; ++i) {
      source.parts.push_back(
          TensorView(bytes.data() + i * static_cast<int64_t>(bytes.size()) / parts, dtype,
                     Shape{rows / parts, cols}));
    }
    auto weight = backend.PackWeight(source);
    EXPECT_TRUE(weight.ok()) << weight.status().ToString();
    packed = std::move(weight).value();
  }
};

void ExpectSameBits(const std::vector<float>& want, const std::vector<float>& got,
                    const std::string& what) {
  ASSERT_EQ(want.size(), got.size());
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_EQ(std::memcmp(&want[i], &got[i], 4), 0)
        << what << ", element " << i << ": " << want[i] << ", " << got[i];
  }
}

TensorView View(const std::vector<float>& x, Shape shape) {
  return TensorView(x.data(), DType::kF32, shape);
}
MutableTensorView View(std::vector<float>& x, Shape shape) {
  return MutableTensorView(x.data(), DType::kF32, shape);
}

// The normed rows, by the operator of their own.
std::vector<float> Normed(ops::Backend& backend, ops::InputNorm norm, const std::vector<float>& x,
                          const std::vector<float>& weight, const std::vector<float>& bias) {
  if (norm == ops::InputNorm::kNone) return x;
  const Shape shape{static_cast<int64_t>(x.size()) / kHidden, 1, kHidden};
  std::vector<float> y(x.size());
  if (norm == ops::InputNorm::kRms) {
    ops::RmsNormArgs args;
    args.x = View(x, shape);
    args.weight = View(weight, {kHidden});
    args.y = View(y, shape);
    args.eps = 1e-5f;
    args.weight_bias = 1;
    backend.ops().rms_norm(args, backend.stream());
  } else {
    ops::LayerNormArgs args;
    args.x = View(x, shape);
    args.weight = View(weight, {kHidden});
    args.bias = View(bias, {kHidden});
    args.y = View(y, shape);
    args.eps = 1e-5f;
    backend.ops().layer_norm(args, backend.stream());
  }
  return y;
}

template <typename Args>
void SetNorm(ops::InputNorm norm, const std::vector<float>& weight, const std::vector<float>& bias,
             Args& args) {
  args.norm = norm;
  args.eps = 1e-5f;
  args.weight_bias = norm == ops::InputNorm::kRms ? 1.0f : 0.0f;
  args.norm_weight = View(weight, {kHidden});
  if (norm == ops::InputNorm::kLayer) args.norm_bias = View(bias, {kHidden});
}

struct Variant {
  std::string isa;
  int threads;
};
std::vector<Variant> Variants() {
  std::vector<Variant> setups;
  for (const Kernels* k : AvailableKernels()) {
    for (int threads : {1, 3}) setups.push_back({k->name, threads});
  }
  return setups;
}

// Tiles of every width, whole and not, one thread's and several threads' worth.
constexpr int64_t kTokens[] = {1, 2, 5, 16, 33, 112};

TEST(CpuFusion, NormLinear_IsTheNormAndLinear) {
  const auto weight = RandomFloats(kHidden, 1), bias = RandomFloats(kHidden, 2);
  for (const Variant& setup : Variants()) {
    auto made = MakeCpuBackend({.num_threads = setup.threads, .cpu_isa = setup.isa});
    ASSERT_TRUE(made.ok());
    ops::Backend& backend = **made;
    for (DType dtype : {DType::kF32, DType::kQ4_0, DType::kQ6_K}) {
      for (ActivationMode mode : {ActivationMode::kF32, ActivationMode::kQ8}) {
        const Matrix w(backend, dtype, 75, kHidden, false, mode);
        for (int64_t tokens : kTokens) {
          const auto x = RandomFloats(tokens * kHidden, 3);
          const auto norm = tokens % 2 ? ops::InputNorm::kRms : ops::InputNorm::kLayer;
          const auto normed = Normed(backend, norm, x, weight, bias);
          std::vector<float> want(static_cast<size_t>(tokens * 75)), got(want.size());
          ops::LinearArgs linear;
          linear.x = View(normed, {tokens, kHidden});
          linear.w = w.packed.get();
          linear.y = View(want, {tokens, 75});
          backend.ops().linear(linear, backend.stream());
          ops::NormLinearArgs args;
          SetNorm(norm, weight, bias, args);
          args.x = View(x, {tokens, kHidden});
          args.w = w.packed.get();
          args.y = View(got, {tokens, 75});
          backend.ops().norm_linear(args, backend.stream());
          ExpectSameBits(want, got,
                         setup.isa + " " + w.packed->Describe() + ", threads " +
                             std::to_string(setup.threads) + ", tokens " + std::to_string(tokens));
        }
      }
    }
  }
}

TEST(CpuFusion, GatedFfn_IsNormLinearGluAndLinear) {
  const auto weight = RandomFloats(kHidden, 1), bias = RandomFloats(kHidden, 2);
  const std::pair<DType, DType> formats[] = {{DType::kQ4_0, DType::kQ4_0},
                                             {DType::kQ4_K, DType::kQ6_K},
                                             {DType::kQ8_0, DType::kF16},
                                             {DType::kF32, DType::kF32}};
  for (const Variant& setup : Variants()) {
    auto made = MakeCpuBackend({.num_threads = setup.threads, .cpu_isa = setup.isa});
    ASSERT_TRUE(made.ok());
    ops::Backend& backend = **made;
    for (const auto& [gate_up_dtype, down_dtype] : formats) {
      const Matrix gate_up(backend, gate_up_dtype, 2 * kSize, kHidden, true, ActivationMode::kQ8);
      const Matrix down(backend, down_dtype, kHidden, kSize, false, ActivationMode::kQ8);
      EXPECT_EQ(backend.FusesGatedFfn(*gate_up.packed, *down.packed),
                IsQuantBlock(gate_up_dtype) && IsQuantBlock(down_dtype));
      for (int64_t tokens : kTokens) {
        auto x = RandomFloats(tokens * kHidden, 3);
        const auto norm = static_cast<ops::InputNorm>(tokens % 3);
        const auto normed = Normed(backend, norm, x, weight, bias);
        std::vector<float> inner(static_cast<size_t>(tokens * kSize)), want = x;
        ops::LinearGluArgs glu;
        glu.x = View(normed, {tokens, kHidden});
        glu.w = gate_up.packed.get();
        glu.y = View(inner, {tokens, kSize});
        backend.ops().linear_glu(glu, backend.stream());
        std::vector<float> inner_of_one(inner.size());
        ops::LinearGluArgs one = glu;  // with the norm in it
        SetNorm(norm, weight, bias, one);
        one.x = View(std::as_const(x), {tokens, kHidden});
        one.y = View(inner_of_one, {tokens, kSize});
        backend.ops().linear_glu(one, backend.stream());
        ExpectSameBits(inner, inner_of_one, setup.isa + " " + gate_up.packed->Describe());
        ops::LinearArgs linear;
        linear.x = View(std::as_const(inner), {tokens, kSize});
        linear.w = down.packed.get();
        linear.residual = View(std::as_const(want), {tokens, kHidden});
        linear.y = View(want, {tokens, kHidden});
        backend.ops().linear(linear, backend.stream());
        ops::GatedFfnArgs args;  // in place, as a decoder layer does it
        SetNorm(norm, weight, bias, args);
        args.x = args.residual = View(std::as_const(x), {tokens, kHidden});
        args.gate_up = gate_up.packed.get();
        args.down = down.packed.get();
        args.y = View(x, {tokens, kHidden});
        ASSERT_TRUE(ops::CheckArgs(ops::GatedFfnSchema(), &args).ok());
        backend.ops().gated_ffn(args, backend.stream());
        ExpectSameBits(want, x,
                       setup.isa + " " + gate_up.packed->Describe() + ", " +
                           down.packed->Describe() + ", threads " + std::to_string(setup.threads) +
                           ", tokens " + std::to_string(tokens));
      }
    }
  }
}

}  // namespace
}  // namespace rill::cpu
