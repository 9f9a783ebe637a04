// Hand-computed values of reference kernels; everything else is compared with NumPy and across
// backends in tests/.
#include <gtest/gtest.h>

#include <vector>

#include "base/float_types.h"
#include "ops/backend.h"

namespace rill::ops {
namespace {

class ReferenceTest : public ::testing::Test {
 protected:
  std::unique_ptr<Backend> backend_ = MakeReferenceBackend();
};

TEST_F(ReferenceTest, RmsNorm_ThreeFourFive) {
  const float x[] = {3, 4};
  const float weight[] = {1, 2};
  float y[2];
  RmsNormArgs args;
  args.x = TensorView(x, DType::kF32, {1, 1, 2});
  args.weight = TensorView(weight, DType::kF32, {2});
  args.y = MutableTensorView(y, DType::kF32, {1, 1, 2});
  args.eps = 0;
  backend_->ops().rms_norm(args, backend_->stream());
  EXPECT_FLOAT_EQ(y[0], 0.848528137f);  // 3 / sqrt(12.5)
  EXPECT_FLOAT_EQ(y[1], 2.262741700f);
}

TEST_F(ReferenceTest, Linear_StacksPartsOfDifferentDtypes) {
  const float first[] = {1, 2, 3, 4};
  const uint16_t second[] = {F32ToF16(-1), F32ToF16(0.5f)};
  WeightSource source;
  source.name = "stacked";
  source.parts = {TensorView(first, DType::kF32, {2, 2}), TensorView(second, DType::kF16, {1, 2})};
  auto weight = backend_->PackWeight(source);
  ASSERT_TRUE(weight.ok()) << weight.status().ToString();
  EXPECT_EQ(weight.value()->rows(), 3);
  const float x[] = {10, 100};
  const float residual[] = {1, 1, 1};
  const float bias[] = {0.5f, 0, 0};
  float y[3];
  LinearArgs args;
  args.x = TensorView(x, DType::kF32, {1, 2});
  args.w = weight.value().get();
  args.bias = TensorView(bias, DType::kF32, {3});
  args.residual = TensorView(residual, DType::kF32, {1, 3});
  args.y = MutableTensorView(y, DType::kF32, {1, 3});
  args.scale = 2;
  backend_->ops().linear(args, backend_->stream());
  EXPECT_EQ(y[0], 1 + 2 * 210.5f);
  EXPECT_EQ(y[1], 1 + 2 * 430.0f);
  EXPECT_EQ(y[2], 1 + 2 * 40.0f);
}

TEST_F(ReferenceTest, PackWeight_RefusesPartsThatDoNotStack) {
  const float data[12] = {};
  WeightSource source;
  source.name = "qkv";
  source.parts = {TensorView(data, DType::kF32, {2, 3}), TensorView(data, DType::kF32, {2, 4})};
  EXPECT_EQ(backend_->PackWeight(source).status().message(),
            "weight 'qkv': parts [2, 3] and [2, 4] do not stack");
}

// Two positions in one page, one query: softmax over both, and the page layout of K strips.
TEST_F(ReferenceTest, AppendThenAttend_WeighsTwoPositions) {
  KvLayout layout;
  layout.format = quant::KvFormat::kF32;
  layout.num_layers = 1;
  layout.num_kv_heads = 1;
  layout.k_dim = 2;
  layout.v_dim = 1;
  layout.page_size = 16;
  auto pages = backend_->Allocate(layout.page_bytes());
  ASSERT_TRUE(pages.ok());
  const int32_t page_table[] = {0};
  const int32_t q_offsets[] = {0, 2};
  const int32_t kv_lens[] = {2};
  PagedKvView kv;
  kv.layout = layout;
  kv.base = pages.value()->data();
  kv.num_pages = kv.num_seqs = kv.max_pages = 1;
  kv.page_table = page_table;
  kv.q_offsets = q_offsets;
  kv.kv_lens = kv_lens;
  const float k[] = {1, 2, 3, 4};
  const float v[] = {10, 20};
  KvAppendArgs append;
  append.k = TensorView(k, DType::kF32, {2, 1, 2});
  append.v = TensorView(v, DType::kF32, {2, 1, 1});
  append.kv = &kv;
  backend_->ops().kv_append(append, backend_->stream());
  const float* slab = reinterpret_cast<const float*>(kv.base);
  EXPECT_EQ(slab[0], 1);   // strip 0, dim 0, lane 0
  EXPECT_EQ(slab[1], 3);   // strip 0, dim 0, lane 1
  EXPECT_EQ(slab[16], 2);  // strip 0, dim 1, lane 0
  EXPECT_EQ(slab[32], 10);
  EXPECT_EQ(slab[48], 20);

  const float q[] = {0, 0, 1, 0};
  float y[2];
  PagedAttentionArgs attend;
  attend.q = TensorView(q, DType::kF32, {2, 1, 2});
  attend.kv = &kv;
  attend.y = MutableTensorView(y, DType::kF32, {2, 1, 1});
  backend_->ops().paged_attention(attend, backend_->stream());
  EXPECT_EQ(y[0], 10);                         // causal: sees itself only
  EXPECT_FLOAT_EQ(y[1], 10 + 10 * 0.880797f);  // scores 1, 3: sigmoid(2) = 0.880797
}

}  // namespace
}  // namespace rill::ops
