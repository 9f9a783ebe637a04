// Checkpoints that are quantised, or not quite: what is read, and what is said.
// tests/oracle/test_weight_formats.py compares the numbers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base/float_types.h"
#include "model/model.h"
#include "model/test_source.h"

namespace rill::model {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kBase = "model.layers.0.self_attn.q_proj";

// A tiny Llama whose layer 0 has a packed q projection [32, 32].
struct PackedSource : TestSource {
  explicit PackedSource(const std::string& method) {
    const std::string base = kBase;
    Remove(base + ".weight");
    const bool awq = method == "awq";
    AddTensor(base + ".qweight", awq ? Shape{32, 4} : Shape{4, 32}, DType::kI32);
    AddTensor(base + ".qzeros", {1, 4}, DType::kI32);
    AddTensor(base + ".scales", {1, 32}, DType::kF16);
    auto* scales = reinterpret_cast<uint16_t*>(Data(base + ".scales"));
    for (int i = 0; i < 32; ++i) scales[i] = F32ToF16(0.05f);
    if (!awq) {
      AddTensor(base + ".g_idx", {32}, DType::kI32);
      std::memset(Data(base + ".g_idx"), 0, 32 * 4);
    }
    Quantization("{\"quant_method\": \"" + method + "\", \"bits\": 4, \"group_size\": 32}");
  }
  void Quantization(const std::string& json) {
    config().Set("quantization_config", *Json::Parse(json, "test"));
  }
};

Status LoadError(const TestSource& source, WeightMode mode = WeightMode::kFile) {
  const io::ModelSource made = source.Make();
  const std::unique_ptr<ops::Backend> backend = ops::MakeReferenceBackend();
  ModelOptions options;
  options.max_step_tokens = 16;
  options.weights = mode;
  const Status planned = PlanModel(made, options).status();
  const Status loaded = Model::Load(made, *backend, options).status();
  // A plan sees whatever names and shapes can tell.
  if (!planned.ok()) {
    EXPECT_EQ(planned.message(), loaded.message());
  }
  return loaded;
}

TEST(PackedWeights, AwqAndGptq_Load) {
  for (const char* method : {"awq", "gptq"}) {
    const Status status = LoadError(PackedSource(method));
    EXPECT_TRUE(status.ok()) << method << ": " << status.ToString();
  }
}

TEST(PackedWeights, Plan_CountsTheMatrixAndItsBytes) {
  ModelOptions options;
  options.max_step_tokens = 16;
  const auto plain = PlanModel(TestSource().Make(), options);
  const auto packed = PlanModel(PackedSource("gptq").Make(), options);
  ASSERT_TRUE(plain.ok() && packed.ok()) << packed.status().ToString();
  EXPECT_EQ(plain->config.num_parameters, packed->config.num_parameters);
  // f32 [32, 32] became codes, zero points, scales and g_idx.
  EXPECT_EQ(plain->weight_bytes - packed->weight_bytes, 4096 - (512 + 16 + 64 + 128));
  EXPECT_THAT(packed->unused_tensors, ::testing::ElementsAre(HasSubstr("renamed.")));
}

TEST(PackedWeights, EveryWrongShape_NamesTensorExpectedAndGot) {
  struct Case {
    const char* method;
    const char* tensor;
    Shape shape;
    const char* expected;
  };
  const Case cases[] = {
      {"awq", "qweight", {4, 32}, "expected i32 [32, 4], the file has i32 [4, 32]"},
      {"awq", "qzeros", {4}, "expected i32 [1, 4], the file has i32 [4]"},
      {"awq", "scales", {2, 16}, "expected f16 [1, 32], the file has f16 [2, 16]"},
      {"gptq", "qweight", {32, 4}, "expected i32 [4, 32], the file has i32 [32, 4]"},
      {"gptq", "qzeros", {2, 2}, "expected i32 [1, 4], the file has i32 [2, 2]"},
      {"gptq", "scales", {32}, "expected f16 [1, 32], the file has f16 [32]"},
      {"gptq", "g_idx", {1, 32}, "expected i32 [32], the file has i32 [1, 32]"},
  };
  for (const Case& c : cases) {
    PackedSource source(c.method);
    const std::string name = std::string(kBase) + "." + c.tensor;
    source.Reshape(name, c.shape);
    const Status status = LoadError(source);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("'" + name + "'"), HasSubstr(c.expected)));
  }
}

TEST(PackedWeights, MissingTensorsAndWrongTypes_AreNamed) {
  for (const char* tensor : {"qzeros", "scales"}) {
    PackedSource source("awq");
    source.Remove(std::string(kBase) + "." + tensor);
    EXPECT_THAT(std::string(LoadError(source).message()),
                AllOf(HasSubstr(std::string(kBase) + "." + tensor),
                      HasSubstr("the file has no such tensor")));
  }
  PackedSource source("gptq");
  source.Retype(std::string(kBase) + ".qweight", DType::kF32);
  EXPECT_THAT(std::string(LoadError(source).message()), HasSubstr("the file has f32 [4, 32]"));
}

TEST(PackedWeights, ActOrderWithoutItsOrder_IsRefused) {
  // Two groups of 32 in down_proj [32, 64].
  const auto make = [](const char* desc_act, bool with_index) {
    PackedSource source("gptq");
    source.config().Set("intermediate_size", 64);
    for (const char* layer : {"0", "1"}) {
      const std::string mlp = std::string("model.layers.") + layer + ".mlp.";
      for (const char* name : {"gate_proj.weight", "up_proj.weight", "down_proj.weight"}) {
        source.Remove(mlp + name);
        const bool down = name[0] == 'd';
        if (down && layer[0] == '0') continue;  // packed, below
        source.AddTensor(mlp + name, down ? Shape{32, 64} : Shape{64, 32});
      }
    }
    const std::string base = "model.layers.0.mlp.down_proj";
    source.AddTensor(base + ".qweight", {8, 32}, DType::kI32);
    source.AddTensor(base + ".qzeros", {2, 4}, DType::kI32);
    source.AddTensor(base + ".scales", {2, 32}, DType::kF16);
    std::memset(source.Data(base + ".scales"), 0, 2 * 32 * 2);
    if (with_index) {
      source.AddTensor(base + ".g_idx", {64}, DType::kI32);
      auto* g_idx = reinterpret_cast<int32_t*>(source.Data(base + ".g_idx"));
      for (int i = 0; i < 64; ++i) g_idx[i] = i % 2;
    }
    source.Quantization(
        std::string("{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 32") + desc_act +
        "}");
    return LoadError(source);
  };
  const Status status = make(", \"desc_act\": true", false);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status.ToString();
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("'model.layers.0.mlp.down_proj.g_idx': expected i32 [64]"),
                    HasSubstr("desc_act")));
  for (const Status& good : {make(", \"desc_act\": true", true),
                             make(", \"desc_act\": false", false), make("", false)}) {
    EXPECT_TRUE(good.ok()) << good.ToString();
  }
}

TEST(PackedWeights, GroupIndexOutOfRange_IsNamed) {
  PackedSource source("gptq");
  reinterpret_cast<int32_t*>(source.Data(std::string(kBase) + ".g_idx"))[5] = 1;
  const Status status = LoadError(source);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(kBase), HasSubstr("element 5: expected a group in [0, 1), got 1")));
}

TEST(QuantConfig, AbsurdValues_AreRefusedByName) {
  struct Case {
    const char* json;
    const char* message;
    StatusCode code;
  };
  const StatusCode unsupported = StatusCode::kUnsupported, invalid = StatusCode::kInvalidArgument;
  const Case cases[] = {
      {R"({"quant_method": "bitsandbytes"})", "quant_method: \"bitsandbytes\"", unsupported},
      {R"({"quant_method": 7})", "quant_method: expected a string, got 7", invalid},
      {R"({"bits": 4})", "quant_method: null", unsupported},
      {R"([1])", "expected an object, got array", invalid},
      {R"({"quant_method": "gptq", "bits": 5})", "bits: 5", unsupported},
      {R"({"quant_method": "gptq", "bits": -1})", "bits: -1", unsupported},
      {R"({"quant_method": "gptq", "bits": 4.5})", "bits: expected an integer, got 4.5", invalid},
      {R"({"quant_method": "gptq", "bits": "4"})", "bits: expected an integer", invalid},
      {R"({"quant_method": "gptq", "bits": 99999999999999999999})", "bits: expected an integer",
       invalid},
      {R"({"quant_method": "gptq", "group_size": 0})", "group_size: expected -1 or a size",
       invalid},
      {R"({"quant_method": "gptq", "group_size": -2})", "group_size: expected -1 or a size",
       invalid},
      {R"({"quant_method": "gptq", "group_size": 9223372036854775807})", "group_size: expected",
       invalid},
      {R"({"quant_method": "gptq", "group_size": 48})", "group_size: 48", unsupported},
      {R"({"quant_method": "gptq", "checkpoint_format": "marlin"})",
       "checkpoint_format: \"marlin\"", unsupported},
      {R"({"quant_method": "gptq", "desc_act": "yes"})", "desc_act: expected true or false",
       invalid},
      {R"({"quant_method": "gptq", "dynamic": 3})", "dynamic: expected an object", invalid},
      {R"({"quant_method": "awq", "version": "gemv"})", "version: \"gemv\"", unsupported},
      {R"({"quant_method": "awq", "bits": 8})", "bits: 8", unsupported},
      {R"({"quant_method": "awq", "zero_point": false})", "zero_point: false", unsupported},
  };
  for (const Case& c : cases) {
    PackedSource source("gptq");
    source.Quantization(c.json);
    const Status status = LoadError(source);
    EXPECT_EQ(status.code(), c.code) << c.json << ": " << status.ToString();
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("quantization_config"), HasSubstr(c.message)));
    if (c.code == unsupported) {
      EXPECT_THAT(std::string(status.message()), HasSubstr("supported: gptq"));
    }
  }
}

TEST(QuantConfig, MissingForPackedTensors_IsSaid) {
  PackedSource source("gptq");
  source.config().Set("quantization_config", Json());
  EXPECT_THAT(std::string(LoadError(source).message()),
              HasSubstr("quantization_config: missing, but the file has packed tensors"));
}

TEST(PackedWeights, BiasesOfZeros_AreNoBiases) {
  const std::string bias = std::string(kBase) + ".bias";
  PackedSource source("gptq");
  source.AddTensor(bias, {32});
  EXPECT_THAT(std::string(LoadError(source).message()), HasSubstr(bias));
  std::memset(source.Data(bias), 0, 32 * 4);
  EXPECT_TRUE(LoadError(source).ok()) << LoadError(source).ToString();
}

TEST(WeightMode, AMatrixThatIsQuantisedAlready_IsRefused) {
  for (WeightMode mode : {WeightMode::kW8A8, WeightMode::kW4G128}) {
    const Status status = LoadError(PackedSource("awq"), mode);
    EXPECT_EQ(status.code(), StatusCode::kUnsupported);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("layers.0.qkv"), HasSubstr("the file has u4g32 already")));
  }
}

TEST(WeightMode, RowsThatAreNoMultipleOf32_CannotBe4Bits) {
  // down_proj reads 40 columns.
  const Status status = LoadError(TestSource(), WeightMode::kW4G128);
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("mlp.down_proj"), HasSubstr("got 40")));
  EXPECT_TRUE(LoadError(TestSource(), WeightMode::kW8A8).ok());
}

}  // namespace
}  // namespace rill::model
