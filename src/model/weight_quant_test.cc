// Checkpoints that are quantised, or not quite: what is read, and what is said.
// tests/oracle/test_weight_formats.py compares the numbers.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/float_types.h"
#include "model/model.h"
#include "model/quant_config.h"
#include "model/test_source.h"

namespace rill::model {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;

auto EndsWithSupported() {
  return EndsWith("; supported: " + std::string(kSupportedQuantConfigs));
}

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

TEST(TransposedWeights, OfABlockFormat_AreRefusedWithTheFormatsThereAre) {
  TestSource source;
  source.config().Set("model_type", "gpt2");
  source.config().Set("num_key_value_heads", 4);
  source.AddTensor("transformer.wte.weight", {50, 32});
  source.AddTensor("transformer.wpe.weight", {64, 32});
  for (const std::string norm : {"ln_f", "h.0.ln_1", "h.0.ln_2"}) {
    source.AddTensor("transformer." + norm + ".weight", {32});
    source.AddTensor("transformer." + norm + ".bias", {32});
  }
  source.AddTensor("transformer.h.0.attn.c_attn.weight", {32, 96}, DType::kQ4_0);
  const Status status = LoadError(source);
  EXPECT_EQ(status.code(), StatusCode::kUnsupported) << status.ToString();
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("tensor 'transformer.h.0.attn.c_attn.weight': a q4_0 matrix cannot "
                              "be stored transposed; "),
                    EndsWith("; supported: f32, f16, bf16, f64, f8_e4m3, f8_e5m2")));
}

TEST(PackedWeights, AwqOfGptqModel_NamesItsLayout) {
  PackedSource source("awq");
  source.Quantization(
      R"({"quant_method": "awq", "bits": 4, "group_size": 32, "checkpoint_format": "GEMM"})");
  EXPECT_TRUE(LoadError(source).ok()) << LoadError(source).ToString();
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
      {"awq", "scales", {2, 16}, "expected f16 or bf16 or f32 [1, 32], the file has f16 [2, 16]"},
      {"gptq", "qweight", {32, 4}, "expected i32 [4, 32], the file has i32 [32, 4]"},
      {"gptq", "qzeros", {2, 2}, "expected i32 [1, 4], the file has i32 [2, 2]"},
      {"gptq", "scales", {32}, "expected f16 or bf16 or f32 [1, 32], the file has f16 [32]"},
      {"gptq", "g_idx", {1, 32}, "expected i32 [32], the file has i32 [1, 32]"},
  };
  for (const Case& c : cases) {
    PackedSource source(c.method);
    const std::string name = std::string(kBase) + "." + c.tensor;
    source.Reshape(name, c.shape);
    const Status status = LoadError(source);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("'" + name + "'"), HasSubstr(c.expected), EndsWithSupported()));
  }
}

TEST(PackedWeights, MissingTensorsAndWrongTypes_AreNamed) {
  for (const char* tensor : {"qzeros", "scales"}) {
    PackedSource source("awq");
    source.Remove(std::string(kBase) + "." + tensor);
    EXPECT_THAT(std::string(LoadError(source).message()),
                AllOf(HasSubstr(std::string(kBase) + "." + tensor),
                      HasSubstr("the file has no such tensor"), EndsWithSupported()));
  }
  PackedSource source("gptq");
  source.Retype(std::string(kBase) + ".qweight", DType::kF32);
  EXPECT_THAT(std::string(LoadError(source).message()), HasSubstr("the file has f32 [4, 32]"));
}

TEST(PackedWeights, ScaleThatF16CannotHold_IsNamedWithItsValue) {
  for (const char* method : {"awq", "gptq"}) {
    PackedSource source(method);
    const std::string scales = std::string(kBase) + ".scales";
    source.Remove(scales);
    source.AddTensor(scales, {1, 32}, DType::kF32);
    auto* values = reinterpret_cast<float*>(source.Data(scales));
    std::fill_n(values, 32, 0.5f);
    values[3] = 2.01307e-09f;
    EXPECT_THAT(std::string(LoadError(source).message()),
                AllOf(HasSubstr("tensor '" + scales +
                                "': element 3: expected a number that f16 "
                                "holds exactly, got 2.01307e-09 (f32); supported: "),
                      EndsWithSupported()));
  }
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
                    HasSubstr("desc_act"), EndsWithSupported()));
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
              AllOf(HasSubstr("tensor '" + std::string(kBase) +
                              ".g_idx': element 5: expected a group in [0, 1), got 1"),
                    EndsWithSupported()));
}

TEST(QuantConfig, AbsurdValues_AreRefusedByName) {
  struct Case {
    const char* json;
    const char* message;
    StatusCode code;
  };
  const StatusCode unsupported = StatusCode::kUnsupported, invalid = StatusCode::kInvalidArgument;
  std::vector<Case> cases = {
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
      {R"({"quant_method": "gptq", "group_size": 0})", "group_size: expected -1 or a multiple",
       invalid},
      {R"({"quant_method": "gptq", "group_size": -2})", "group_size: expected -1 or a multiple",
       invalid},
      {R"({"quant_method": "gptq", "group_size": 9223372036854775807})", "group_size: expected",
       invalid},
      {R"({"quant_method": "gptq", "group_size": 48})", "group_size: 48", unsupported},
      {R"({"quant_method": "gptq", "checkpoint_format": "marlin"})",
       "checkpoint_format: \"marlin\"", unsupported},
      {R"({"quant_method": "gptq", "desc_act": "yes"})", "desc_act: expected true or false",
       invalid},
      {R"({"quant_method": "gptq", "dynamic": 3})", "dynamic: expected an object", invalid},
      {R"({"quant_method": "gptq", "dynamic": {"+:a": {"group_size": 0}}})",
       "dynamic[\"+:a\"].group_size: expected -1 or a multiple", invalid},
      {R"({"quant_method": "gptq", "dynamic": {"a": {"group_size": "x"}}})",
       "dynamic[\"a\"].group_size: expected an integer", invalid},
      {R"({"quant_method": "awq", "version": "gemv"})", "version: \"gemv\"", unsupported},
      {R"({"quant_method": "awq", "checkpoint_format": "gemv"})", "checkpoint_format: \"gemv\"",
       unsupported},
      {R"({"quant_method": "awq", "version": "gemm", "format": "gemv_fast"})", "\"gemv_fast\"",
       unsupported},
      {R"({"quant_method": "awq", "checkpoint_format": 4})", "checkpoint_format: expected a string",
       invalid},
      {R"({"quant_method": "awq", "bits": 8})", "bits: 8", unsupported},
      {R"({"quant_method": "awq", "zero_point": false})", "zero_point: false", unsupported},
  };
  std::string rules;
  for (int i = 1; i <= 20; ++i) {
    rules += fmt::format(R"({}"r{}": {{"group_size": {}}})", i > 1 ? ", " : "", i, i * 32);
  }
  const std::string many = R"({"quant_method": "gptq", "dynamic": {)" + rules + "}}";
  cases.push_back({many.c_str(), "dynamic: expected at most 16 group sizes, got 20", invalid});
  for (const Case& c : cases) {
    PackedSource source("gptq");
    source.Quantization(c.json);
    const Status status = LoadError(source);
    EXPECT_EQ(status.code(), c.code) << c.json << ": " << status.ToString();
    EXPECT_THAT(
        std::string(status.message()),
        AllOf(HasSubstr("quantization_config"), HasSubstr(c.message),
              HasSubstr(" (tensor '" + std::string(kBase) + ".qweight')"), EndsWithSupported()));
  }
}

TEST(QuantConfig, WriterOfInt3ZeroPoints_IsKnownByItsVersion) {
  using quant::Int3Zeros;
  struct Case {
    const char* rest;
    Int3Zeros want;
  };
  const Case cases[] = {
      {"", Int3Zeros::kFields},
      {R"(, "sym": false)", Int3Zeros::kFields},
      {R"(, "sym": true)", Int3Zeros::kUnknown},
      {R"(, "sym": true, "dynamic": {"-:x": {"sym": false}})", Int3Zeros::kFields},
      {R"(, "sym": true, "meta": {"quantizer": "auto_gptq:0.7.1"})", Int3Zeros::kUnknown},
      {R"(, "meta": {"quantizer": "gptqmodel:0.9.0"})", Int3Zeros::kWords},
      {R"(, "meta": {"quantizer": ["gptqmodel:1.4.0-dev0"]})", Int3Zeros::kWords},
      {R"(, "meta": {"quantizer": ["optimum:7.0.0", "GPTQModel:2.2.0"]})", Int3Zeros::kWords},
      {R"(, "sym": true, "meta": {"quantizer": ["gptqmodel:6.0.3"]})", Int3Zeros::kWords},
      {R"(, "meta": {"quantizer": ["gptqmodel:6.1.0-dev"]})", Int3Zeros::kUnknown},
      {R"(, "sym": true, "meta": {"quantizer": ["gptqmodel:7.0.0"]})", Int3Zeros::kFields},
      {R"(, "meta": {"quantizer": ["gptqmodel:10.0.0"]})", Int3Zeros::kFields},
      {R"(, "meta": {"quantizer": ["gptqmodel:main"]})", Int3Zeros::kUnknown},
      {R"(, "meta": {"quantizer": ["gptqmodel:"]})", Int3Zeros::kUnknown},
      {R"(, "meta": {"quantizer": ["gptqmodel"]})", Int3Zeros::kUnknown},
      {R"(, "meta": {"quantizer": "GPTQModel 2.0"})", Int3Zeros::kUnknown},
      {R"(, "meta": {"quantizer": ["gptqmodel:99999999999999999999.1"]})", Int3Zeros::kUnknown},
      {R"(, "meta": {"quantizer": ["gptqmodel_fork:1.0", 7, null]})", Int3Zeros::kFields},
      {R"(, "meta": {"quantizer": []})", Int3Zeros::kFields},
      {R"(, "meta": 5)", Int3Zeros::kFields},
  };
  for (const Case& c : cases) {
    PackedSource source("gptq");
    source.Quantization(std::string(R"({"quant_method": "gptq", "bits": 3)") + c.rest + "}");
    const auto config = ReadQuantConfig(source.Make());
    ASSERT_TRUE(config.ok()) << c.rest << ": " << config.status().ToString();
    EXPECT_EQ(static_cast<int>(config->int3_zeros), static_cast<int>(c.want)) << c.rest;
  }
}

TEST(QuantConfig, MissingForPackedTensors_IsSaid) {
  PackedSource source("gptq");
  source.config().Set("quantization_config", Json());
  EXPECT_THAT(std::string(LoadError(source).message()),
              AllOf(HasSubstr("quantization_config: missing, but the file has packed tensors "
                              "(tensor '" +
                              std::string(kBase) + ".qweight')"),
                    EndsWithSupported()));
}

TEST(QuantConfig, MissingForPackedTensors_NamesOneOfThemNotWhatStandsBefore) {
  TestSource source;
  source.AddTensor("model.layers.0.mlp.up_proj.weight_scale", {1});
  source.AddTensor(std::string(kBase) + ".qweight", {4, 32}, DType::kI32);
  EXPECT_THAT(std::string(ReadQuantConfig(source.Make()).status().message()),
              HasSubstr("(tensor '" + std::string(kBase) + ".qweight')"));
}

TEST(PackedWeights, BiasesOfZeros_AreNoBiases) {
  const std::string bias = std::string(kBase) + ".bias";
  PackedSource source("gptq");
  source.AddTensor(bias, {32});
  EXPECT_THAT(std::string(LoadError(source).message()),
              AllOf(HasSubstr("tensor '" + bias + "': the file has [32] of f32"),
                    EndsWith("; supported: a configuration that has it, a file without it, or, "
                             "beside packed weights, a bias of zeros")));
  std::memset(source.Data(bias), 0, 32 * 4);
  EXPECT_TRUE(LoadError(source).ok()) << LoadError(source).ToString();
  auto* values = reinterpret_cast<float*>(source.Data(bias));
  std::fill_n(values, 32, -0.0f);
  EXPECT_TRUE(LoadError(source).ok()) << LoadError(source).ToString();
  for (const float value : {1e-45f, -1e-45f, 1.0f, NAN}) {
    values[31] = value;
    EXPECT_THAT(std::string(LoadError(source).message()), HasSubstr(bias)) << value;
  }
}

// Layer 0's down projection [32, 288] as GPTQ of 4 bits with `groups` groups.
Status LoadRagged(int64_t groups, bool with_index, const std::string& dynamic) {
  TestSource source;
  source.config().Set("intermediate_size", 288);
  for (const char* layer : {"0", "1"}) {
    const std::string mlp = std::string("model.layers.") + layer + ".mlp.";
    for (const char* name : {"gate_proj.weight", "up_proj.weight"}) {
      source.Remove(mlp + name);
      source.AddTensor(mlp + name, {288, 32});
    }
    source.Remove(mlp + "down_proj.weight");
  }
  source.AddTensor("model.layers.1.mlp.down_proj.weight", {32, 288});
  const std::string base = "model.layers.0.mlp.down_proj";
  source.AddTensor(base + ".qweight", {36, 32}, DType::kI32);
  source.AddTensor(base + ".qzeros", {groups, 4}, DType::kI32);
  source.AddTensor(base + ".scales", {groups, 32}, DType::kF16);
  std::memset(source.Data(base + ".scales"), 0, static_cast<size_t>(groups) * 32 * 2);
  if (with_index) {
    source.AddTensor(base + ".g_idx", {288}, DType::kI32);
    auto* g_idx = reinterpret_cast<int32_t*>(source.Data(base + ".g_idx"));
    for (int i = 0; i < 288; ++i) g_idx[i] = i / 96;
  }
  source.config().Set("quantization_config",
                      *Json::Parse(R"({"quant_method": "gptq", "bits": 4, "group_size": 128,
                                       "dynamic": )" +
                                       dynamic + "}",
                                   "test"));
  return LoadError(source);
}

TEST(PackedWeights, GroupsOfDynamic_AreOfASizeThatTheConfigurationNames) {
  for (const Status& good : {LoadRagged(3, false, R"({"-:lm_head": {}})"),
                             LoadRagged(9, false, R"({"+:x": {"group_size": 32}})"),
                             LoadRagged(1, false, R"({"+:x": {"group_size": -1}})"),
                             LoadRagged(3, true, R"({"+:x": {"group_size": 64}})")}) {
    EXPECT_TRUE(good.ok()) << good.ToString();
  }
  const Status unnamed = LoadRagged(9, false, R"({"+:x": {"group_size": 64}})");
  EXPECT_EQ(unnamed.code(), StatusCode::kUnsupported) << unnamed.ToString();
  EXPECT_THAT(std::string(unnamed.message()),
              AllOf(HasSubstr("'model.layers.0.mlp.down_proj.scales': expected the rows that 288 "
                              "columns need in groups of 128 or 64"),
                    HasSubstr("the file has f16 [9, 32];"), EndsWithSupported()));
  const Status either = LoadRagged(3, false, R"({"+:x": {"group_size": 96}})");
  EXPECT_EQ(either.code(), StatusCode::kUnsupported) << either.ToString();
  EXPECT_THAT(std::string(either.message()),
              AllOf(HasSubstr("groups of 128 or 96"), HasSubstr("more than one would be")));
  // Which says it of each column.
  EXPECT_TRUE(LoadRagged(3, true, R"({"+:x": {"group_size": 96}})").ok());
}

TEST(ForgottenParts, OfAWeightThatIsRead_AreRefused) {
  const std::string base = "model.layers.1.self_attn.o_proj.";
  for (const char* part :
       {"weight_scale", "weight_scale_inv", "input_scale", "weight.absmax", "g_idx", "scales",
        "weight.quant_state.bitsandbytes__nf4", "lora_A.default.weight", "lora_A.default.bias"}) {
    TestSource source;
    source.AddTensor(base + part, {1});
    const Status status = LoadError(source);
    EXPECT_EQ(status.code(), StatusCode::kUnsupported) << part << ": " << status.ToString();
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("tensor '" + base + part + "': belongs to '" + base + "weight'"),
                      HasSubstr("supported")));
  }
  TestSource source;
  for (const char* other :
       {"model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.2.self_attn.o_proj.weight",
        "model.layers.1.self_attn.k_proj.k_scale", "weight", "", ".", "scales"}) {
    source.AddTensor(other, {1});
  }
  EXPECT_TRUE(LoadError(source).ok()) << LoadError(source).ToString();
}

TEST(PackedWeights, APackedHeadOfATiedConfiguration_IsRead) {
  PackedSource source("gptq");
  source.config().Set("tie_word_embeddings", true);
  source.Remove("lm_head.weight");
  EXPECT_TRUE(LoadError(source).ok());
  source.AddTensor("lm_head.qweight", {4, 50}, DType::kI32);
  EXPECT_THAT(std::string(LoadError(source).message()), HasSubstr("'lm_head.qweight'"));
}

TEST(WeightMode, AMatrixThatIsQuantisedAlready_IsRefused) {
  for (WeightMode mode : {WeightMode::kW8A8, WeightMode::kW4G128}) {
    const Status status = LoadError(PackedSource("awq"), mode);
    EXPECT_EQ(status.code(), StatusCode::kUnsupported);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("tensor '" + std::string(kBase) + ".qweight': --weights w"),
                      HasSubstr("the file has it quantised already (u4g32)"),
                      HasSubstr("; supported: --weights w")));
  }
}

TEST(WeightMode, RowsThatAreNoMultipleOf32_CannotBe4Bits) {
  // down_proj reads 40 columns.
  const Status status = LoadError(TestSource(), WeightMode::kW4G128);
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("tensor 'model.layers.0.mlp.down_proj.weight': --weights w4g128"),
                    HasSubstr("got 40"),
                    EndsWith("supported: --weights w4g128 of f32, f16 and bf16 matrices with "
                             "columns in multiples of 32")));
  EXPECT_TRUE(LoadError(TestSource(), WeightMode::kW8A8).ok());
}

TEST(PackedWeights, APlainMatrixBesideThePackedOne_IsRefusedWithBothNames) {
  for (const char* method : {"awq", "gptq"}) {
    PackedSource source(method);
    source.AddTensor(std::string(kBase) + ".weight", {32, 32});
    const Status status = LoadError(source);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << method;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("'" + std::string(kBase) + ".qweight'"),
                      HasSubstr("'" + std::string(kBase) + ".weight'"),
                      HasSubstr("the file has both"), EndsWithSupported()));
    // A table, which is read as it is.
    PackedSource table(method);
    table.AddTensor("model.embed_tokens.qweight", {4, 50}, DType::kI32);
    EXPECT_THAT(
        std::string(LoadError(table).message()),
        AllOf(HasSubstr("'model.embed_tokens.qweight'"), HasSubstr("'model.embed_tokens.weight'")));
    // What the network does not read says nothing of it.
    PackedSource other(method);
    other.AddTensor("model.vision.qweight", {4, 32}, DType::kI32);
    other.AddTensor("model.vision.weight", {32, 32});
    EXPECT_TRUE(LoadError(other).ok()) << LoadError(other).ToString();
  }
}

// Networks of 32 and 64 columns, so that all rows are whole groups; matrices of layer 0 are added
// by the test.
struct WholeGroups : TestSource {
  explicit WholeGroups(const std::string& family) {
    config().Set("model_type", family);
    config().Set("intermediate_size", 64);
    const std::string mlp = "model.layers.";
    for (const std::string layer : {"0", "1"}) {
      for (const std::string name : {"gate_proj", "up_proj", "down_proj"}) {
        Remove(mlp + layer + ".mlp." + name + ".weight");
        if (family != "llama") continue;
        AddTensor(mlp + layer + ".mlp." + name + ".weight",
                  name == "down_proj" ? Shape{32, 64} : Shape{64, 32});
      }
    }
  }
};

struct TooLarge {
  const char* tensor;
  int64_t element;
  const char* place;
};

void ExpectNamed(WholeGroups& source, const std::vector<TooLarge>& cases) {
  ASSERT_TRUE(LoadError(source, WeightMode::kW4G128).ok())
      << LoadError(source, WeightMode::kW4G128).ToString();
  for (const TooLarge& c : cases) {
    float& weight = source.Data(c.tensor)[c.element];
    const float before = weight;
    weight = -1e18f;
    const Status status = LoadError(source, WeightMode::kW4G128);
    EXPECT_EQ(status.code(), StatusCode::kUnsupported) << c.tensor;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("tensor '" + std::string(c.tensor) + "': --weights w4g128"),
                      HasSubstr(std::string("weight of ") + c.place + " is -1e+18"),
                      HasSubstr("below 524160")));
    for (const WeightMode mode : {WeightMode::kFile, WeightMode::kW8A8}) {
      EXPECT_TRUE(LoadError(source, mode).ok()) << c.tensor;
    }
    // What is damaged stays so, and is told elsewhere.
    weight = -INFINITY;
    EXPECT_TRUE(LoadError(source, WeightMode::kW4G128).ok()) << c.tensor;
    weight = before;
  }
}

TEST(WeightMode, AWeightTooLargeFor4Bits_IsRefusedByTensorAndPlace) {
  WholeGroups source("llama");
  ExpectNamed(source,
              {{"model.layers.0.self_attn.k_proj.weight", 3 * 32 + 5, "output 3 and input 5"},
               {"model.layers.1.mlp.up_proj.weight", 63 * 32 + 31, "output 63 and input 31"},
               {"model.layers.1.mlp.down_proj.weight", 0, "output 0 and input 0"}});
  // Embeddings, norms and lm_head stay what they are.
  source.Data("lm_head.weight")[7] = 1e18f;
  source.Data("model.embed_tokens.weight")[7] = 1e18f;
  EXPECT_TRUE(LoadError(source, WeightMode::kW4G128).ok());
}

TEST(WeightMode, AWeightTooLargeInAFusedTensor_IsNamedByItsPlaceThere) {
  WholeGroups source("phi3");
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    source.AddTensor(layer + "self_attn.qkv_proj.weight", {64, 32});
    source.AddTensor(layer + "mlp.gate_up_proj.weight", {128, 32});
    source.AddTensor(layer + "mlp.down_proj.weight", {32, 64});
  }
  ExpectNamed(source,
              {{"model.layers.1.self_attn.qkv_proj.weight", 50 * 32 + 1, "output 50 and input 1"},
               {"model.layers.0.mlp.gate_up_proj.weight", 100 * 32 + 9, "output 100 and input 9"}});
}

TEST(WeightMode, AWeightTooLargeInAnExpert_IsNamedByItsTensor) {
  WholeGroups source("mixtral");
  source.config().Set("num_local_experts", 3);
  source.config().Set("num_experts_per_tok", 2);
  for (const std::string layer : {"0", "1"}) {
    const std::string moe = "model.layers." + layer + ".block_sparse_moe.";
    source.AddTensor(moe + "gate.weight", {3, 32});
    for (const std::string expert : {"0", "1", "2"}) {
      source.AddTensor(moe + "experts." + expert + ".w1.weight", {64, 32});
      source.AddTensor(moe + "experts." + expert + ".w2.weight", {32, 64});
      source.AddTensor(moe + "experts." + expert + ".w3.weight", {64, 32});
    }
  }
  ExpectNamed(
      source,
      {{"model.layers.1.block_sparse_moe.experts.2.w3.weight", 4 * 32 + 2, "output 4 and input 2"},
       {"model.layers.0.block_sparse_moe.experts.1.w2.weight", 64 + 3, "output 1 and input 3"}});
}

}  // namespace
}  // namespace rill::model
