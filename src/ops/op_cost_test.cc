// Costs against counts made by hand.
#include "ops/op_cost.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "ops/backend.h"

namespace rill::ops {
namespace {

class FakeWeight : public PackedWeight {
 public:
  FakeWeight(int64_t experts, int64_t rows, int64_t cols, int64_t bytes, bool integer)
      : FakeWeight(experts, rows, cols, bytes, integer ? rows : 0) {}
  FakeWeight(int64_t experts, int64_t rows, int64_t cols, int64_t bytes, int64_t integer_rows)
      : bytes_(bytes), integer_rows_(integer_rows) {
    num_experts_ = experts;
    rows_ = rows;
    cols_ = cols;
  }
  int64_t packed_bytes() const override { return bytes_; }
  int64_t integer_rows() const override { return integer_rows_; }
  std::string Describe() const override { return "fake"; }

 private:
  int64_t bytes_;
  int64_t integer_rows_;
};

TensorView View(Shape shape, DType dtype = DType::kF32) {
  return TensorView(static_cast<const void*>(nullptr), dtype, shape);
}
MutableTensorView Out(Shape shape) {
  return MutableTensorView(static_cast<void*>(nullptr), DType::kF32, shape);
}

TEST(OpCost, Linear) {
  const FakeWeight w(1, 960, 576, 311'040, true);  // q4_0: 18 bytes for 32
  LinearArgs args;
  args.x = View({7, 576});
  args.w = &w;
  args.y = Out({7, 960});
  StepCost cost = CostOf(LinearSchema(), &args);
  EXPECT_EQ(cost.int8_macs, 7.0 * 576 * 960);
  EXPECT_EQ(cost.f32_macs, 0);
  EXPECT_EQ(cost.weight_bytes, 311'040);
  EXPECT_EQ(cost.activation_bytes, 4.0 * 7 * (576 + 960));
  args.residual = View({7, 960});
  EXPECT_EQ(CostOf(LinearSchema(), &args).activation_bytes, 4.0 * 7 * (576 + 2 * 960));

  const FakeWeight f32(1, 960, 576, 2'211'840, false);
  args.w = &f32;
  cost = CostOf(LinearSchema(), &args);
  EXPECT_EQ(cost.f32_macs, 7.0 * 576 * 960);
  EXPECT_EQ(cost.int8_macs, 0);
}

TEST(OpCost, LinearGlu_CountsGateAndUp) {
  const FakeWeight w(1, 2 * 1536, 576, 1000, true);
  LinearGluArgs args;
  args.x = View({3, 576});
  args.w = &w;
  args.y = Out({3, 1536});
  EXPECT_EQ(CostOf(LinearGluSchema(), &args).int8_macs, 3.0 * 2 * 1536 * 576);
}

// Three tokens of 64 columns, two experts each; which is not known yet.
MoeFfnArgs MoeArgs(const FakeWeight& gate_up, const FakeWeight& down) {
  MoeFfnArgs args;
  args.x = View({3, 64});
  args.expert_ids = View({3, 2}, DType::kI32);
  args.expert_weights = View({3, 2});
  args.gate_up = &gate_up;
  args.down = &down;
  args.y = Out({3, 64});
  return args;
}

TEST(OpCost, MoeFfn_ReadsOnlyChosenExperts) {
  const FakeWeight gate_up(8, 2 * 96, 64, 8000, true), down(8, 64, 96, 4000, true);
  const int32_t ids[] = {0, 5, 5, 2, 0, 2};  // experts 0, 2, 5
  MoeFfnArgs args = MoeArgs(gate_up, down);
  args.expert_ids = TensorView(ids, DType::kI32, {3, 2});
  const StepCost cost = CostOf(MoeFfnSchema(), &args);
  EXPECT_EQ(cost.int8_macs, 3.0 * 2 * 3 * 96 * 64);
  EXPECT_DOUBLE_EQ(cost.weight_bytes, 12'000.0 * 3 / 8);
  args = MoeArgs(gate_up, down);  // 8 (1 - (3/4)^3) on average
  EXPECT_DOUBLE_EQ(CostOf(MoeFfnSchema(), &args).weight_bytes, 12'000 * (1 - 27.0 / 64));
}

TEST(OpCost, MoeFfn_CountsTheProductsOfEachWeightByItsKind) {
  const FakeWeight gate_up(8, 2 * 96, 64, 8000, true), down(8, 64, 96, 98'304, false);
  const MoeFfnArgs args = MoeArgs(gate_up, down);
  const StepCost cost = CostOf(MoeFfnSchema(), &args);
  EXPECT_EQ(cost.int8_macs, 3.0 * 2 * 2 * 96 * 64);
  EXPECT_EQ(cost.f32_macs, 3.0 * 2 * 96 * 64);
}

TEST(OpCost, Linear_CountsTheProductsOfEachRowByItsKind) {
  const FakeWeight qkv(1, 960, 576, 1000, int64_t{768});  // q and k in 4 bits, v in f16
  LinearArgs args;
  args.x = View({7, 576});
  args.w = &qkv;
  args.y = Out({7, 960});
  const StepCost cost = CostOf(LinearSchema(), &args);
  EXPECT_EQ(cost.int8_macs, 7.0 * 576 * 768);
  EXPECT_EQ(cost.f32_macs, 7.0 * 576 * 192);
}

TEST(OpCost, Embedding_ReadsRows) {
  const FakeWeight table(1, 1000, 64, 36'000, true);
  EmbeddingArgs args;
  args.token_ids = View({5}, DType::kI32);
  args.table = &table;
  args.y = Out({5, 64});
  const StepCost cost = CostOf(EmbeddingSchema(), &args);
  EXPECT_EQ(cost.weight_bytes, 5 * 36.0);
  EXPECT_EQ(cost.int8_macs + cost.f32_macs, 0);
}

TEST(OpCost, PagedAttention_CountsVisiblePairs) {
  PagedKvView kv;
  kv.layout.format = quant::KvFormat::kF16;
  kv.layout.num_layers = 1;
  kv.layout.num_kv_heads = 3;
  kv.layout.k_dim = kv.layout.v_dim = 64;
  kv.layout.page_size = 64;
  const int32_t q_offsets[] = {0, 1, 5};
  const int32_t kv_lens[] = {100, 10};  // a decode at 99; a chunk of 4 that ends at 10
  kv.num_seqs = 2;
  kv.q_offsets = q_offsets;
  kv.kv_lens = kv_lens;
  PagedAttentionArgs args;
  args.q = View({5, 9, 64});
  args.kv = &kv;
  args.y = Out({5, 9, 64});
  StepCost cost = CostOf(PagedAttentionSchema(), &args);
  EXPECT_EQ(cost.f32_macs, (100.0 + 7 + 8 + 9 + 10) * 9 * 128);
  EXPECT_EQ(cost.kv_bytes, 110.0 * 3 * 128 * 2);

  args.window = 8;
  cost = CostOf(PagedAttentionSchema(), &args);
  EXPECT_EQ(cost.f32_macs, (8.0 + 7 + 8 + 8 + 8) * 9 * 128);
  EXPECT_EQ(cost.kv_bytes, (8.0 + 10) * 3 * 128 * 2);  // the chunk's window: 4 - 1 + 8, of 10

  args.window = 0;
  args.causal = false;
  EXPECT_EQ(CostOf(PagedAttentionSchema(), &args).f32_macs, (100.0 + 4 * 10) * 9 * 128);
}

// Every op with a weight that it multiplies by has a formula, and it can be evaluated.
TEST(OpCost, SchemasOfProducts_HaveMacs) {
  for (int i = 0; i < kNumOps; ++i) {
    const OpSchema& schema = SchemaOf(static_cast<OpId>(i));
    bool counts = false;
    for (std::string_view tag : schema.tags) counts |= tag == "matmul" || tag == "attention";
    EXPECT_EQ(counts, !schema.macs.empty()) << schema.name;
  }
}

TEST(LimitOf, TheSlowerOfReadingAndComputingBinds) {
  Ceilings c;
  c.dram_read_gbs = 20;
  c.int8_dot_gmacs = 400;
  c.f32_fma_gflops = 100;
  c.reads = {{1e6, 100}, {1e9, 20}};
  StepCost cost;
  cost.weight_bytes = 2e9;
  HardwareLimit limit = LimitOf(cost, c);
  EXPECT_EQ(limit.name, "dram_read");
  EXPECT_DOUBLE_EQ(limit.seconds, 0.1);
  cost.weight_bytes = 1e6;
  limit = LimitOf(cost, c);
  EXPECT_EQ(limit.name, "cache_read");
  EXPECT_DOUBLE_EQ(limit.seconds, 1e-5);
  cost.int8_macs = 4e9;
  cost.f32_macs = 5e8;
  limit = LimitOf(cost, c);
  EXPECT_EQ(limit.name, "int8_dot");
  EXPECT_DOUBLE_EQ(limit.seconds, 0.01 + 0.01);
  EXPECT_EQ(LimitOf({}, c).seconds, 0);
  EXPECT_EQ(LimitOf(cost, {}).name, "none");
  EXPECT_EQ(LimitOf(cost, {}).seconds, 0);
  // A thousand steps that a cache holds are still read from it.
  cost = {};
  cost.weight_bytes = 1e9;
  EXPECT_EQ(LimitOf(cost, c, 1000).name, "cache_read");
  EXPECT_DOUBLE_EQ(LimitOf(cost, c, 1000).seconds, 0.01);
}

}  // namespace
}  // namespace rill::ops
