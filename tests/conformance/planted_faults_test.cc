// The comparators and the case tables must find planted errors.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "base/float_types.h"
#include "conformance/compare.h"

namespace rill::conformance {
namespace {

const std::unique_ptr<ops::Backend>& Reference() {
  static const auto* backend = new std::unique_ptr<ops::Backend>(ops::MakeReferenceBackend());
  return *backend;
}

TEST(Comparators, FindOneWrongElement) {
  const std::vector<Output> expected = {{"y", {1, 2, 3}}};
  const Bounds bounds = {{1e-6, 1e-6, 1e-6}};
  EXPECT_EQ(CompareWithin(expected, {{"y", {1, 2.0000005f, 3}}}, bounds), "");
  EXPECT_NE(CompareWithin(expected, {{"y", {1, 2.000002f, 3}}}, bounds), "");
  EXPECT_NE(CompareWithin(expected, {{"y", {1, NAN, 3}}}, bounds), "");
  EXPECT_NE(CompareWithin({{"y", {1, NAN, 3}}}, expected, bounds), "");
  EXPECT_NE(CompareWithin(expected, {{"y", {1, 2}}}, bounds), "");
  EXPECT_NE(CompareWithin(expected, {{"y", {1, 2, 4}}}, {{0, 0, 0}}), "");
  EXPECT_EQ(CompareBits(expected, expected), "");
  EXPECT_NE(CompareBits(expected, {{"y", {1, std::nextafter(2.0f, 3.0f), 3}}}), "");
  EXPECT_NE(CompareBits({{"y", {0.0f}}}, {{"y", {-0.0f}}}), "");
}

// A reference with some kernels broken.
class FaultyBackend final : public ops::Backend {
 public:
  FaultyBackend() { table_ = Reference()->ops(); }
  ops::OpTable& table() { return table_; }
  std::string_view name() const override { return "faulty"; }
  std::string Describe() const override { return "faulty"; }
  const ops::OpTable& ops() const override { return table_; }
  ops::Stream& stream() override { return Reference()->stream(); }
  Result<std::unique_ptr<ops::Buffer>> Allocate(int64_t size) override {
    return Reference()->Allocate(size);
  }
  Result<std::unique_ptr<ops::PackedWeight>> PackWeight(const ops::WeightSource& source) override {
    return Reference()->PackWeight(source);
  }

 private:
  ops::OpTable table_;
};

// Number of cases of `op` that notice `backend`.
int Noticed(ops::OpId op, FaultyBackend& backend) {
  int noticed = 0;
  for (const Case& c : AllCases()) {
    if (c.op != op) continue;
    const int64_t tokens = std::max<int64_t>(c.NumTokens(), 0);
    auto truth = Instance::Make(c, *Reference());
    auto faulty = Instance::Make(c, backend);
    EXPECT_TRUE(truth.ok() && faulty.ok());
    EXPECT_TRUE((*truth)->Run(0, tokens).ok() && (*faulty)->Run(0, tokens).ok());
    const auto expected = (*truth)->Outputs();
    noticed +=
        !CompareWithin(expected, (*faulty)->Outputs(), BoundsOf(c, **truth, expected)).empty();
  }
  return noticed;
}

TEST(PlantedFaults, None_NoneNoticed) {
  FaultyBackend backend;
  EXPECT_EQ(Noticed(ops::OpId::kRmsNorm, backend), 0);
}

TEST(PlantedFaults, RmsNormWithDoubledEpsilon) {
  FaultyBackend backend;
  backend.table().rms_norm = [](const ops::RmsNormArgs& args, ops::Stream& stream) {
    ops::RmsNormArgs wrong = args;
    wrong.eps *= 2;
    Reference()->ops().rms_norm(wrong, stream);
  };
  EXPECT_GT(Noticed(ops::OpId::kRmsNorm, backend), 0);
}

TEST(PlantedFaults, LinearThatForgetsTheLastColumn) {
  FaultyBackend backend;
  backend.table().linear = [](const ops::LinearArgs& args, ops::Stream& stream) {
    std::vector<float> x;
    ops::LinearArgs wrong = args;
    for (int64_t t = 0; t < args.x.dim(0); ++t) {
      x.insert(x.end(), args.x.Row<float>(t), args.x.Row<float>(t) + args.x.dim(1));
      x.back() = 0;
    }
    wrong.x = TensorView(x.data(), DType::kF32, args.x.shape);
    Reference()->ops().linear(wrong, stream);
  };
  EXPECT_GT(Noticed(ops::OpId::kLinear, backend), 50);
}

TEST(PlantedFaults, LogitsThatKeepTheLastOfTheLargest) {
  FaultyBackend backend;
  backend.table().logits = [](const ops::LogitsArgs& args, ops::Stream& stream) {
    Reference()->ops().logits(args, stream);
    for (int64_t t = 0; t < args.x.dim(0); ++t) {
      int32_t& id = args.best_id.As<int32_t>()[t];
      if (id >= 0 && args.best.As<float>()[t] == 0) id = static_cast<int32_t>(args.y.dim(1)) - 1;
    }
  };
  EXPECT_GE(Noticed(ops::OpId::kLogits, backend), 9);  // the cases of ties
}

TEST(PlantedFaults, LogitsThatWriteRowsThatAreNotWanted) {
  FaultyBackend backend;
  backend.table().logits = [](const ops::LogitsArgs& args, ops::Stream& stream) {
    Reference()->ops().logits(args, stream);
    for (int64_t t = 0; t < args.x.dim(0); ++t) {
      if (args.best_id.As<int32_t>()[t] >= 0) args.y.Row<float>(t)[0] = 1;
    }
  };
  EXPECT_GT(Noticed(ops::OpId::kLogits, backend), 30);
}

TEST(PlantedFaults, AttentionWindowOffByOne) {
  FaultyBackend backend;
  backend.table().paged_attention = [](const ops::PagedAttentionArgs& args, ops::Stream& stream) {
    ops::PagedAttentionArgs wrong = args;
    if (wrong.window > 0) ++wrong.window;
    Reference()->ops().paged_attention(wrong, stream);
  };
  EXPECT_GT(Noticed(ops::OpId::kPagedAttention, backend), 5);
}

TEST(PlantedFaults, KvAppendToTheNextLayer) {
  FaultyBackend backend;
  backend.table().kv_append = [](const ops::KvAppendArgs& args, ops::Stream& stream) {
    ops::KvAppendArgs wrong = args;
    wrong.layer = 0;
    Reference()->ops().kv_append(wrong, stream);
  };
  EXPECT_GT(Noticed(ops::OpId::kKvAppend, backend), 5);
}

TEST(PlantedFaults, GeluInsteadOfGeluTanh) {
  FaultyBackend backend;
  backend.table().activation = [](const ops::ActivationArgs& args, ops::Stream& stream) {
    ops::ActivationArgs wrong = args;
    if (wrong.kind == ops::ActivationKind::kGeluTanh) wrong.kind = ops::ActivationKind::kGelu;
    Reference()->ops().activation(wrong, stream);
  };
  EXPECT_GT(Noticed(ops::OpId::kActivation, backend), 5);
}

}  // namespace
}  // namespace rill::conformance
