// The cheap estimate against the sum over the ops that a step calls.
#include "model/step_cost.h"

#include <gtest/gtest.h>

#include <numeric>

#include "model/model.h"
#include "model/test_source.h"
#include "ops/op_cost.h"

namespace rill::model {
namespace {

TEST(StepCostModel, OfAStep_EqualsTheSumOverItsOps) {
  TestSource test;
  const auto backend = ops::MakeReferenceBackend();
  const io::ModelSource source = test.Make();
  auto loaded = Model::Load(source, *backend, {.max_step_tokens = 16, .max_step_rows = 4});
  ASSERT_TRUE(loaded.ok()) << loaded.status().ToString();
  Model& model = **loaded;
  const KvLayout layout = model.MakeKvLayout(quant::KvFormat::kF16, 16);
  const StepCostModel estimate(model.program(), layout);

  const std::vector<int32_t> ids = {1, 2, 3, 4, 5}, positions = {20, 7, 8, 9, 10};
  const std::vector<int32_t> q_offsets = {0, 1, 5}, kv_lens = {21, 11}, rows = {0, 4};
  const std::vector<int32_t> pages = {0, 1, 2, 3};
  const auto memory = backend->Allocate(4 * layout.page_bytes());
  ASSERT_TRUE(memory.ok());
  StepInput input;
  input.token_ids = ids;
  input.positions = positions;
  input.logit_rows = rows;
  input.kv.layout = layout;
  input.kv.base = (*memory)->data();
  input.kv.num_pages = 4;
  input.kv.num_seqs = 2;
  input.kv.max_pages = 2;
  input.kv.page_table = pages.data();
  input.kv.q_offsets = q_offsets.data();
  input.kv.kv_lens = kv_lens.data();
  std::vector<float> logits(2 * 50);

  StepCost sum, embedding;
  ProgramHook hook;
  hook.after = [&](const ProgramNode& node) {
    const StepCost cost = ops::CostOf(node.schema(), node.args.get());
    sum += cost;
    if (node.schema().macs.empty()) embedding.weight_bytes += cost.weight_bytes;
  };
  model.mutable_program().SetHook(hook);
  ASSERT_TRUE(model.Forward(input, MutableTensorView(logits.data(), DType::kF32, {2, 50})).ok());
  const StepCost cost = estimate.Of(5, 2, 2, q_offsets.data(), kv_lens.data());
  EXPECT_GT(cost.f32_macs, 0);
  EXPECT_DOUBLE_EQ(cost.f32_macs, sum.f32_macs);
  EXPECT_DOUBLE_EQ(cost.int8_macs, sum.int8_macs);
  EXPECT_DOUBLE_EQ(cost.kv_bytes, sum.kv_bytes);
  EXPECT_DOUBLE_EQ(cost.weight_bytes, sum.weight_bytes - embedding.weight_bytes);
  // By hand: 2 layers of 32 x (32 + 2 * 16) for 5 tokens; 32 x 32 + 3 * 32 x 40 for 5 tokens in the
  // first and for 2 rows in the last, the output matrix for 2 rows; 4 heads x 16 x 2 layers for
  // (21 + 8 + 9 + 10 + 11) pairs.
  const double rest = 32 * 32 + 3 * 32 * 40;
  EXPECT_EQ(cost.f32_macs, 5.0 * (2 * 32 * 64 + rest) + 2.0 * (rest + 50 * 32) + 59.0 * 4 * 16 * 2);
  // Without logits neither what follows the last attention nor the output matrix is multiplied.
  const StepCost silent = estimate.Of(5, 0, 2, q_offsets.data(), kv_lens.data());
  EXPECT_EQ(cost.f32_macs - silent.f32_macs, 2.0 * (rest + 50 * 32));
}

}  // namespace
}  // namespace rill::model
