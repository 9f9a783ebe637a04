#include "model/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <limits>
#include <numeric>

#include "io/test_files.h"
#include "model/decoder_spec.h"
#include "model/family.h"
#include "model/program.h"
#include "model/test_source.h"

namespace rill::model {
namespace {

using ::testing::HasSubstr;

Status LoadError(const TestSource& source, ModelOptions options = {}) {
  const io::ModelSource made = source.Make();
  const std::unique_ptr<ops::Backend> backend = ops::MakeReferenceBackend();
  options.max_step_tokens = 16;
  return Model::Load(made, *backend, options).status();
}

struct Loaded {
  TestSource source;
  std::unique_ptr<ops::Backend> backend = ops::MakeReferenceBackend();
  std::unique_ptr<Model> model;

  explicit Loaded(int32_t max_step_tokens = 16) {
    ModelOptions options;
    options.max_step_tokens = max_step_tokens;
    auto loaded = Model::Load(source.Make(), *backend, options);
    EXPECT_TRUE(loaded.ok()) << loaded.status().ToString();
    model = std::move(*loaded);
  }

  // Logits of all ids of one text, in one step.
  Result<std::vector<float>> Run(const std::vector<int32_t>& ids) {
    const KvLayout layout = model->MakeKvLayout(quant::KvFormat::kF32, 32);
    std::vector<std::byte> pages(static_cast<size_t>(layout.page_bytes()) + 64);
    const auto count = static_cast<int32_t>(ids.size());
    std::vector<int32_t> positions(ids.size()), offsets = {0, count}, lens = {count}, table = {0};
    std::iota(positions.begin(), positions.end(), 0);
    StepInput input;
    input.token_ids = ids;
    input.positions = positions;
    input.logit_rows = positions;
    input.kv.layout = layout;
    input.kv.base = pages.data() + (64 - reinterpret_cast<uintptr_t>(pages.data()) % 64) % 64;
    input.kv.num_pages = input.kv.num_seqs = input.kv.max_pages = 1;
    input.kv.page_table = table.data();
    input.kv.q_offsets = offsets.data();
    input.kv.kv_lens = lens.data();
    std::vector<float> logits(ids.size() * 50);
    RILL_RETURN_IF_ERROR(
        model->Forward(input, MutableTensorView(logits.data(), DType::kF32, Shape{count, 50})));
    return logits;
  }
};

TEST(Model, StepSizesChange_ResultsDoNot) {
  Loaded m;
  const auto first = m.Run({3, 1, 4, 1, 5});
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  ASSERT_TRUE(m.Run({9, 2, 6, 5, 3, 5, 8, 9, 7, 9}).ok());
  const auto again = m.Run({3, 1, 4, 1, 5});
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(*first, *again);
  for (float v : *first) EXPECT_TRUE(std::isfinite(v));
}

TEST(Model, Forward_RefusesWhatDoesNotFit) {
  Loaded m;
  EXPECT_THAT(m.Run({1, 50}).status().message(), HasSubstr("token id 1: expected [0, 50), got 50"));
  EXPECT_THAT(m.Run({-1}).status().message(), HasSubstr("got -1"));
  EXPECT_THAT(m.Run(std::vector<int32_t>(17, 1)).status().message(),
              HasSubstr("at most 16 tokens"));
}

TEST(Model, HostileConfig_IsRefusedNamingTheKey) {
  struct Case {
    const char* key;
    Json value;
    const char* message;
  };
  const double nan_like = 1e308;
  const Case cases[] = {
      {"num_hidden_layers", 1'000'000'000, "num_layers: expected an integer in"},
      {"num_hidden_layers", 4096, "the file has 21 tensors"},
      {"num_hidden_layers", 0, "num_layers: expected an integer in [1"},
      {"num_hidden_layers", -3, "num_hidden_layers"},
      {"num_hidden_layers", "2", "num_layers: expected an integer"},
      {"num_hidden_layers", 3, "model.layers.2.input_layernorm.weight"},
      {"head_dim", 0, "head_dim: expected an integer in [1"},
      {"head_dim", 7, "rotary dimension"},
      {"num_attention_heads", 1'000'000'000, "num_attention_heads"},
      {"num_attention_heads", 3, "is not a multiple of num_attention_heads 3"},
      {"num_key_value_heads", 3, "number of heads: expected a multiple of the 3 KV heads, got 4"},
      {"num_key_value_heads", 8, "number of KV heads: expected [1, 4], got 8"},
      {"hidden_size", 1'000'000'000'000, "n_embd or n_embed: expected an integer"},
      {"hidden_size", 64,
       "expected [50, 64], the file has [50, 32] of f32; supported: that shape in f32, f16, bf16, "
       "f64, "
       "f8_e4m3, f8_e5m2, q4_0"},
      {"vocab_size", 1'000'000, "expected [1000000, 32], the file has [50, 32]"},
      {"intermediate_size", 41, "mlp.gate_proj.weight': expected [41, 32], the file has [40, 32]"},
      {"max_position_embeddings", 4'000'000'000, "max_position_embeddings"},
      {"rope_theta", nan_like * 0.0, "rope: theta: expected a finite number > 0, got 0"},
      {"rope_theta", -1.0, "theta"},
      {"rope_theta", "x", "rope_base: expected a finite number"},
      {"rms_norm_eps", 0.0, "norm epsilon"},
      {"rms_norm_eps", nullptr, ""},
      {"hidden_act", "gelux", "activation 'gelux' is not known; known are silu"},
      {"rope_scaling", 3, "rope_scaling: expected an object, got 3"},
      {"attention_bias", 1, "bias: expected true or false, got 1"},
      {"attention_bias", true, "self_attn.q_proj.bias': expected [32]"},
  };
  for (const Case& c : cases) {
    TestSource source;
    source.config().Set(c.key, c.value);
    const Status status = LoadError(source);
    if (*c.message == '\0') {
      EXPECT_TRUE(status.ok()) << status.ToString();
      continue;
    }
    EXPECT_FALSE(status.ok()) << c.key << " " << c.value.Dump();
    EXPECT_THAT(status.message(), HasSubstr(c.message)) << c.key;
  }
}

// 2^28 slopes would be 1 GiB.
TEST(Model, HostileNumberOfHeadsWithAlibi_IsRefusedBeforeTheirSlopesAreMade) {
  for (const char* family : {"bloom", "falcon", "baichuan"}) {
    TestSource source;
    source.config().Set("model_type", family);
    source.config().Set("alibi", true);
    source.config().Set("head_dim", 8);
    source.config().Set("num_attention_heads", 1 << 28);
    if (std::string_view(family) == "baichuan") {
      source.config().Set("max_position_embeddings", nullptr);
    }
    const int64_t before = io::testing::PeakMemoryBytes();
    const std::clock_t start = std::clock();
    EXPECT_EQ(LoadError(source).message(),
              "tiny: number of heads: expected [1, 16384], got 268435456")
        << family;
    EXPECT_LT(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC, 0.5) << family;
    EXPECT_LT(io::testing::PeakMemoryBytes() - before, 16 << 20) << family;
  }
}

TEST(Model, HostileRopeScaling_IsRefused) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"rope_type": "llama9"})", "rope_type 'llama9' is not supported"},
      {R"({"rope_type": "linear"})", "factor: expected a number, got nothing"},
      {R"({"rope_type": "linear", "factor": 0})", "factor: expected a finite number > 0"},
      {R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4})",
       "low_freq_factor"},
      {R"({"rope_type": "longrope", "short_factor": [1], "long_factor": [1, 2]})",
       "expected 4 numbers each"},
      {R"({"rope_type": "yarn", "factor": 4, "beta_fast": -1})", "beta_fast"},
  };
  for (const auto& [json, message] : cases) {
    TestSource source;
    source.config().Set("rope_scaling", *Json::Parse(json, "test"));
    EXPECT_THAT(LoadError(source).message(), HasSubstr(message)) << json;
  }
}

TEST(Model, HostileTensors_AreRefusedByName) {
  TestSource missing;
  missing.Remove("model.layers.1.mlp.up_proj.weight");
  EXPECT_THAT(LoadError(missing).message(),
              HasSubstr("'model.layers.1.mlp.up_proj.weight': expected [40, 32], the file has no"));

  TestSource misshapen;
  misshapen.Reshape("model.layers.0.self_attn.k_proj.weight", Shape{32, 16});
  EXPECT_THAT(LoadError(misshapen).message(),
              HasSubstr("expected [16, 32], the file has [32, 16]"));

  TestSource integers;
  integers.Retype("model.norm.weight", DType::kI32);
  EXPECT_THAT(LoadError(integers).message(), HasSubstr("the file has i32"));

  TestSource biased;
  biased.AddTensor("model.layers.0.self_attn.q_proj.bias", {32});
  EXPECT_THAT(LoadError(biased).message(),
              HasSubstr("tensor 'model.layers.0.self_attn.q_proj.bias': the file has [32] of f32, "
                        "but the configuration of a 'llama' network has no such bias; supported: "
                        "a configuration that has it, a file without it"));
}

TEST(Model, CheckTensors_RefusesNaN) {
  TestSource source;
  source.Data("model.layers.0.mlp.up_proj.weight")[7] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(LoadError(source).ok());
  ModelOptions options;
  options.check_tensors = true;
  EXPECT_THAT(LoadError(source, options).message(), HasSubstr("up_proj"));
}

TEST(Model, UnknownArchitecture_NamesTheNearest) {
  TestSource source;
  source.config().Set("model_type", "lama");
  const Status status = LoadError(source);
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_THAT(status.message(), HasSubstr("model_type 'lama' is not supported; nearest are llama"));
  source.config().Set("model_type", nullptr);
  EXPECT_THAT(LoadError(source).message(), HasSubstr("model_type: expected a string, got nothing"));
}

TEST(Model, Plan_AgreesWithLoad) {
  Loaded m;
  ModelOptions options;
  options.max_step_tokens = 16;
  const auto plan = PlanModel(m.source.Make(), options);
  ASSERT_TRUE(plan.ok()) << plan.status().ToString();
  EXPECT_EQ(plan->config.num_parameters, m.model->config().num_parameters);
  EXPECT_EQ(plan->activation_bytes, m.model->memory().activation_bytes);
  EXPECT_EQ(plan->weight_bytes, 4 * plan->config.num_parameters);
  EXPECT_TRUE(plan->unused_tensors.empty());
  // 2 layers x 2 KV heads x (8 + 8, padded to 16) x 64 positions of 2 bytes
  EXPECT_EQ(plan->kv_layout.page_bytes(), 2 * 2 * (8 + 16) * 64 * 2);
  for (const auto format : {quant::KvFormat::kInt8, quant::KvFormat::kInt4}) {
    KvLayout layout = plan->kv_layout;
    layout.format = format;
    EXPECT_EQ(layout.page_bytes(), m.model->MakeKvLayout(format, 64).page_bytes());
  }
}

TEST(Program, SharesMemoryAndNamesPlaces) {
  Loaded m;
  const Program& program = m.model->program();
  EXPECT_LT(program.arena_bytes(), program.unshared_bytes() / 2);
  std::vector<std::string> places;
  for (const ProgramNode& node : program.nodes()) places.push_back(node.place);
  EXPECT_THAT(places, ::testing::Contains("layers.1.attn.qkv"));
  EXPECT_EQ(places.front(), "embed");
  EXPECT_EQ(places.back(), "lm_head");
  EXPECT_THAT(program.nodes().back().Describe(), HasSubstr("w lm_head [50, 32]"));
}

// Sharing never changes a result: each node's inputs are still there when it runs. Seen through the
// hook: the same outputs place by place as a program with other sizes (another arena).
TEST(Program, ArenaOfAnySize_GivesTheSameValues) {
  std::vector<std::vector<float>> traces[2];
  int32_t sizes[2] = {4, 64};
  for (int i = 0; i < 2; ++i) {
    Loaded m(sizes[i]);
    m.model->mutable_program().SetHook({.before = {}, .after = [&](const ProgramNode& node) {
                                          auto out = Program::ReadOutput(node);
                                          if (out.ok()) traces[i].push_back(*out);
                                        }});
    ASSERT_TRUE(m.Run({5, 6, 7}).ok());
  }
  ASSERT_GT(traces[0].size(), 10u);
  EXPECT_EQ(traces[0], traces[1]);
}

// A backend without one kernel.
class PoorBackend final : public ops::Backend {
 public:
  PoorBackend() : inner_(ops::MakeReferenceBackend()), table_(inner_->ops()) {
    table_.rms_norm = nullptr;
    table_.rope_kv_append = nullptr;
  }
  std::string_view name() const override { return "poor"; }
  std::string Describe() const override { return "poor"; }
  const ops::OpTable& ops() const override { return table_; }
  ops::Stream& stream() override { return inner_->stream(); }
  Result<std::unique_ptr<ops::Buffer>> Allocate(int64_t bytes) override {
    return inner_->Allocate(bytes);
  }
  Result<std::unique_ptr<ops::PackedWeight>> PackWeight(const ops::WeightSource& s) override {
    return inner_->PackWeight(s);
  }

 private:
  std::unique_ptr<ops::Backend> inner_;
  ops::OpTable table_;
};

TEST(Program, MissingKernels_AreListedAtLoad) {
  TestSource source;
  PoorBackend backend;
  const Status status = Model::Load(source.Make(), backend, {}).status();
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_THAT(status.message(), HasSubstr("'poor' has no kernel for: rope_kv_append, rms_norm"));
}

TEST(Family, Names_AreUnique) {
  std::vector<std::string_view> hf, gguf;
  for (const Family* family : Families()) {
    hf.insert(hf.end(), family->hf_types.begin(), family->hf_types.end());
    gguf.insert(gguf.end(), family->gguf.begin(), family->gguf.end());
  }
  for (auto* names : {&hf, &gguf}) {
    std::sort(names->begin(), names->end());
    EXPECT_EQ(std::adjacent_find(names->begin(), names->end()), names->end());
  }
}

}  // namespace
}  // namespace rill::model
