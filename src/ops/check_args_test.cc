// Each kind of violation that CheckArgs finds, and the sentence it gives; schemas against their
// structs and headers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>
#include <vector>

#include "base/testing.h"
#include "ops/backend.h"
#include "ops/dim_solver.h"
#include "ops/overlap.h"

namespace rill::ops {
namespace {

template <typename Args>
std::string Check(const char* op, const Args& args) {
  const OpSchema* schema = FindSchema(op);
  if (schema == nullptr) return "no schema";
  CHECK(schema->args_size == sizeof(Args));
  return CheckArgs(*schema, &args).message();
}

// A valid rms_norm call to spoil.
struct RmsNormCall {
  float x[8 * 576] = {};
  float weight[576] = {};
  float y[8 * 576] = {};
  RmsNormArgs args;
  RmsNormCall() {
    args.x = TensorView(x, DType::kF32, {8, 1, 576});
    args.weight = TensorView(weight, DType::kF32, {576});
    args.y = MutableTensorView(y, DType::kF32, {8, 1, 576});
  }
};

TEST(CheckArgs, ValidCall_Passes) {
  RmsNormCall call;
  EXPECT_EQ(Check("rms_norm", call.args), "");
  call.args.weight = {};
  EXPECT_EQ(Check("rms_norm", call.args), "");
  call.args.weight = TensorView(call.weight, DType::kF32, {1, 576});
  EXPECT_EQ(Check("rms_norm", call.args), "");
}

TEST(CheckArgs, EmptyStep_Passes) {
  RmsNormCall call;
  call.args.x = TensorView(nullptr, DType::kF32, {0, 1, 576});
  call.args.y = MutableTensorView(nullptr, DType::kF32, {0, 1, 576});
  EXPECT_EQ(Check("rms_norm", call.args), "");
}

TEST(CheckArgs, WrongSize_NamesDimension) {
  RmsNormCall call;
  call.args.weight = TensorView(call.weight, DType::kF32, {64});
  EXPECT_EQ(Check("rms_norm", call.args),
            "rms_norm: weight: expected [size=576] or [num_groups=1, size=576] f32, got [64] f32");
}

TEST(CheckArgs, WrongRank_IsRefused) {
  RmsNormCall call;
  call.args.x = TensorView(call.x, DType::kF32, {8, 576});
  EXPECT_EQ(Check("rms_norm", call.args),
            "rms_norm: x: expected [num_tokens=8, num_groups=1, size=576] f32, got [8, 576] f32");
}

TEST(CheckArgs, WrongDtype_IsRefused) {
  RmsNormCall call;
  call.args.x = TensorView(call.x, DType::kF16, {8, 1, 576});
  EXPECT_THAT(Check("rms_norm", call.args), ::testing::EndsWith("f32, got [8, 1, 576] f16"));
}

TEST(CheckArgs, MissingTensor_IsNamed) {
  RmsNormCall call;
  call.args.x = {};
  EXPECT_EQ(Check("rms_norm", call.args),
            "rms_norm: x: missing, expected [num_tokens, num_groups, size] f32");
}

TEST(CheckArgs, LastStrideNotOne_IsRefused) {
  RmsNormCall call;
  call.args.x.strides[2] = 2;
  EXPECT_EQ(Check("rms_norm", call.args),
            "rms_norm: x: expected stride 1 in the last dimension, got 2");
  call.args.x.strides[2] = 1;
  call.args.x.strides[0] = -576;
  EXPECT_EQ(Check("rms_norm", call.args),
            "rms_norm: x: expected no negative stride in dimension 0, got -576");
}

TEST(CheckArgs, AttributeOutOfRange_IsRefused) {
  RmsNormCall call;
  call.args.eps = -1;
  EXPECT_EQ(Check("rms_norm", call.args), "rms_norm: eps: expected a value in [0, 1], got -1");
  call.args.eps = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(Check("rms_norm", call.args), "rms_norm: eps: expected a finite number, got nan");
}

TEST(CheckArgs, EnumOutOfRange_ListsNames) {
  float x[4] = {};
  ActivationArgs args;
  args.x = TensorView(x, DType::kF32, {1, 4});
  args.y = MutableTensorView(x, DType::kF32, {1, 4});
  args.kind = static_cast<ActivationKind>(17);
  EXPECT_EQ(Check("activation", args),
            "activation: kind: expected one of silu, gelu, gelu_tanh, quick_gelu, relu, relu2, "
            "identity, got 17");
}

TEST(CheckArgs, Aliasing_OnlyTheSameViewWhereAllowed) {
  RmsNormCall call;
  call.args.y = MutableTensorView(call.x, DType::kF32, {8, 1, 576});
  EXPECT_EQ(Check("rms_norm", call.args), "");
  call.args.y = MutableTensorView(call.x + 1, DType::kF32, {7, 1, 576});
  call.args.x = TensorView(call.x, DType::kF32, {7, 1, 576});
  EXPECT_EQ(Check("rms_norm", call.args),
            "rms_norm: y: expected to be x itself or apart from it, got views that overlap");
  call.args.x = TensorView(call.y, DType::kF32, {1, 1, 576});
  call.args.y = MutableTensorView(call.weight, DType::kF32, {1, 1, 576});
  EXPECT_EQ(Check("rms_norm", call.args),
            "rms_norm: y: expected memory apart from weight, got views that overlap");
}

TEST(CheckArgs, ColumnHalvesOfOneBuffer_DoNotOverlap) {
  float buffer[4 * 10] = {};
  GluArgs args;
  args.gate = TensorView(buffer, DType::kF32, {4, 5});
  args.up = TensorView(buffer + 5, DType::kF32, {4, 5});
  args.y = MutableTensorView(buffer, DType::kF32, {4, 5});
  args.gate.strides[0] = args.up.strides[0] = args.y.strides[0] = 10;
  EXPECT_EQ(Check("glu", args), "");
  args.up.data -= sizeof(float);
  EXPECT_EQ(Check("glu", args), "glu: y: expected memory apart from up, got views that overlap");
}

TEST(CheckArgs, BroadcastOutput_IsRefused) {
  float x[2 * 3 * 4] = {}, y[2 * 3 * 4];
  CopyArgs args;
  args.x = TensorView(x, DType::kF32, {2, 3, 4});
  args.x.strides[1] = 0;
  args.y = MutableTensorView(y, DType::kF32, {2, 3, 4});
  EXPECT_EQ(Check("copy", args), "");
  args.y.strides[1] = 0;
  EXPECT_EQ(Check("copy", args),
            "copy: y: expected distinct elements, got strides that overlap in [2, 3, 4] f32");
}

TEST(CheckArgs, Weights_ShapeAndPairing) {
  auto backend = MakeReferenceBackend();
  const float data[6 * 4] = {};
  WeightSource source;
  source.name = "ffn";
  source.parts = {TensorView(data, DType::kF32, {3, 4}), TensorView(data, DType::kF32, {3, 4})};
  source.paired = true;
  auto paired = backend->PackWeight(source);
  source.paired = false;
  auto plain = backend->PackWeight(source);
  ASSERT_TRUE(paired.ok() && plain.ok());
  float x[5] = {}, y[3];
  LinearGluArgs args;
  args.x = TensorView(x, DType::kF32, {1, 4});
  args.w = paired.value().get();
  args.y = MutableTensorView(y, DType::kF32, {1, 3});
  EXPECT_EQ(Check("linear_glu", args), "");
  args.w = plain.value().get();
  EXPECT_EQ(Check("linear_glu", args),
            "linear_glu: w: expected paired rows, got weight 'ffn' with plain rows");
  args.w = nullptr;
  EXPECT_THAT(Check("linear_glu", args), ::testing::StartsWith("linear_glu: w: missing"));
  args.w = paired.value().get();
  args.x = TensorView(x, DType::kF32, {1, 5});
  EXPECT_EQ(Check("linear_glu", args),
            "linear_glu: w: expected [2*intermediate_size=6, hidden_size=5] weight, got [6, 4] "
            "weight 'ffn'");
}

TEST(CheckArgs, Constraint_IsQuoted) {
  float x[8] = {}, cos_sin[16] = {};
  RopeArgs args;
  args.x = MutableTensorView(x, DType::kF32, {1, 1, 8});
  args.cos_sin = TensorView(cos_sin, DType::kF32, {1, 16});
  EXPECT_EQ(Check("rope", args),
            "rope: expected rotary_dim <= head_dim, got rotary_dim=16, head_dim=8");
}

TEST(CheckArgs, Kv_PagesAndLayersInRange) {
  std::vector<std::byte> memory(1 << 16);
  int32_t page_table[] = {0, 1};
  int32_t q_offsets[] = {0, 1};
  int32_t kv_lens[] = {17};
  PagedKvView kv;
  kv.layout = {quant::KvFormat::kF16, 2, 1, 4, 4, 16};
  kv.base = memory.data();
  kv.num_pages = 2;
  kv.num_seqs = 1;
  kv.max_pages = 2;
  kv.page_table = page_table;
  kv.q_offsets = q_offsets;
  kv.kv_lens = kv_lens;
  float q[8] = {}, y[8];
  PagedAttentionArgs args;
  args.q = TensorView(q, DType::kF32, {1, 2, 4});
  args.kv = &kv;
  args.y = MutableTensorView(y, DType::kF32, {1, 2, 4});
  EXPECT_EQ(Check("paged_attention", args), "");
  page_table[1] = 2;
  EXPECT_EQ(Check("paged_attention", args),
            "paged_attention: kv: sequence 0: expected pages in [0, 2), got 2");
  page_table[1] = 1;
  kv_lens[0] = 33;
  EXPECT_EQ(Check("paged_attention", args),
            "paged_attention: kv: sequence 0: expected at most max_pages=2 pages, got kv_len=33");
  kv_lens[0] = 0;
  EXPECT_EQ(Check("paged_attention", args),
            "paged_attention: kv: sequence 0: expected 0 <= q_len <= kv_len=0, got q_len=1");
  kv_lens[0] = 17;
  args.layer = 2;
  EXPECT_EQ(Check("paged_attention", args),
            "paged_attention: expected layer < num_layers, got layer=2, num_layers=2");
  args.layer = 1;
  kv.layout.num_kv_heads = 3;
  EXPECT_EQ(Check("paged_attention", args),
            "paged_attention: expected num_heads % num_kv_heads == 0, got num_heads=2, "
            "num_kv_heads=3");
  kv.layout.num_kv_heads = 1;
  kv.layout.page_size = 24;
  EXPECT_EQ(Check("paged_attention", args),
            "paged_attention: kv: expected a page size that is a multiple of 16, got 24");
}

TEST(DimSolver, ExpressionsBothWays) {
  DimSolver dims;
  EXPECT_TRUE(dims.Solve("rotary_dim/2", 32));
  EXPECT_EQ(dims.Get("rotary_dim"), 64);
  EXPECT_FALSE(dims.Solve("2*size", 7));
  dims.Set("ungated", 1);
  dims.Set("size", 5);
  EXPECT_EQ(dims.Evaluate("(2-ungated)*size"), 5);
  EXPECT_EQ(dims.Describe("2*size"), "2*size=10");
  EXPECT_EQ(dims.Describe("other"), "other");
}

size_t SizeOf(ParamKind kind) {
  switch (kind) {
    case ParamKind::kTensor: return sizeof(TensorView);
    case ParamKind::kMutableTensor: return sizeof(MutableTensorView);
    case ParamKind::kWeight:
    case ParamKind::kKv: return sizeof(void*);
    case ParamKind::kBool: return sizeof(bool);
    default: return 4;
  }
}

// Schemas list every member, in order, with nothing but padding between.
TEST(Schemas, EveryByteIsAParameterOrPadding) {
  for (int i = 0; i < kNumOps; ++i) {
    const OpSchema& schema = SchemaOf(static_cast<OpId>(i));
    EXPECT_EQ(schema.params.size(), schema.num_members) << schema.name;
    size_t end = 0;
    for (const OpParam& param : schema.params) {
      const size_t size = SizeOf(param.kind);
      const size_t alignment = std::min<size_t>(size, 8);
      EXPECT_EQ(param.offset, (end + alignment - 1) / alignment * alignment)
          << schema.name << ": " << param.name;
      EXPECT_FALSE(param.doc.empty()) << schema.name << ": " << param.name;
      end = param.offset + size;
    }
    EXPECT_EQ((end + 7) / 8 * 8, schema.args_size) << schema.name;
  }
}

// The formula in the schema is the one in the header.
TEST(Schemas, FormulaIsTheHeaders) {
  for (int i = 0; i < kNumOps; ++i) {
    const OpSchema& schema = SchemaOf(static_cast<OpId>(i));
    EXPECT_EQ(&schema, FindSchema(schema.name));
    std::ifstream file(testing::SourceDir() + "/src/ops/" + std::string(schema.name) + ".h");
    std::ostringstream header;
    header << file.rdbuf();
    std::istringstream lines{std::string(schema.formula)};
    for (std::string line; std::getline(lines, line);) {
      EXPECT_THAT(header.str(), ::testing::HasSubstr(line)) << schema.name;
    }
  }
  EXPECT_EQ(FindSchema("no_such_op"), nullptr);
}

// Aliases, constraints and pairings name parameters and dimensions that exist.
TEST(Schemas, NamesExist) {
  for (int i = 0; i < kNumOps; ++i) {
    const OpSchema& schema = SchemaOf(static_cast<OpId>(i));
    for (const OpParam& param : schema.params) {
      for (std::string_view name : param.may_alias) {
        EXPECT_NE(schema.FindParam(name), nullptr) << schema.name << ": " << name;
      }
      EXPECT_EQ(param.kind == ParamKind::kEnum, !param.enum_names.empty()) << schema.name;
    }
  }
}

}  // namespace
}  // namespace rill::ops
