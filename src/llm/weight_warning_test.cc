// What a load says of weights that are no numbers: of which tensors of the file, and once.
#include "llm/weight_warning.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "backends/registry.h"
#include "base/float_types.h"
#include "model/model.h"
#include "model/test_source.h"

namespace rill::llm {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Names = std::vector<std::string>;

Names Damaged(const model::TestSource& source, const std::string& backend_name = "cpu",
              model::WeightMode mode = model::WeightMode::kFile) {
  const auto backend = backends::MakeBackend(backend_name, {.num_threads = 2, .cpu_isa = ""});
  EXPECT_TRUE(backend.ok()) << backend.status().ToString();
  model::ModelOptions options;
  options.max_step_tokens = 16;
  options.weights = mode;
  const auto loaded = model::Model::Load(source.Make(), **backend, options);
  EXPECT_TRUE(loaded.ok()) << loaded.status().ToString();
  return loaded.ok() ? (*loaded)->damaged_tensors() : Names{"not loaded"};
}

TEST(DamagedTensors, AHealthyModel_HasNone) {
  EXPECT_THAT(Damaged(model::TestSource()), IsEmpty());
  EXPECT_THAT(Damaged(model::TestSource(), "cpu", model::WeightMode::kW8A8), IsEmpty());
}

TEST(DamagedTensors, OfAFusedMatrix_AreNamedAsTheFileNamesThem) {
  const std::string layer = "model.layers.1.";
  for (const std::string name : {"self_attn.q_proj", "self_attn.v_proj", "self_attn.o_proj",
                                 "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}) {
    const std::string tensor = layer + name + ".weight";
    model::TestSource source;
    source.Data(tensor)[100] = std::nanf("");
    for (const auto mode : {model::WeightMode::kFile, model::WeightMode::kW8A8}) {
      EXPECT_THAT(Damaged(source, "cpu", mode), ElementsAre(tensor));
    }
  }
  // Read in place; and two of one matrix.
  model::TestSource source;
  source.Data("model.embed_tokens.weight")[5] = INFINITY;
  source.Data(layer + "self_attn.q_proj.weight")[1] = INFINITY;
  source.Data(layer + "self_attn.k_proj.weight")[2] = -INFINITY;
  EXPECT_THAT(Damaged(source),
              ElementsAre("model.embed_tokens.weight", layer + "self_attn.q_proj.weight",
                          layer + "self_attn.k_proj.weight"));
}

// Every backend takes what the load has looked at.
TEST(DamagedTensors, NormsOfAnyRank_AreLookedAtWhole) {
  model::TestSource source;
  source.config().Set("model_type", "cohere");
  source.config().Set("use_qk_norm", true);
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    source.AddTensor(layer + "self_attn.q_norm.weight", {4, 8});
    source.AddTensor(layer + "self_attn.k_norm.weight", {2, 8});
  }
  EXPECT_THAT(Damaged(source), IsEmpty());
  source.Data("model.norm.weight")[31] = INFINITY;
  source.Data("model.layers.1.self_attn.q_norm.weight")[31] = std::nanf("");
  for (const std::string backend : {"cpu", "reference"}) {
    EXPECT_THAT(Damaged(source, backend),
                ElementsAre("model.norm.weight", "model.layers.1.self_attn.q_norm.weight"));
  }
}

TEST(DamagedTensors, OfAnExpert_IsTheExpertsOwn) {
  model::TestSource source;
  source.config().Set("model_type", "mixtral");
  source.config().Set("num_local_experts", 3);
  source.config().Set("num_experts_per_tok", 2);
  for (const std::string layer : {"0", "1"}) {
    const std::string moe = "model.layers." + layer + ".block_sparse_moe.";
    source.AddTensor(moe + "gate.weight", {3, 32});
    for (const std::string expert : {"0", "1", "2"}) {
      source.AddTensor(moe + "experts." + expert + ".w1.weight", {40, 32});
      source.AddTensor(moe + "experts." + expert + ".w2.weight", {32, 40});
      source.AddTensor(moe + "experts." + expert + ".w3.weight", {40, 32});
    }
  }
  const std::string tensor = "model.layers.1.block_sparse_moe.experts.2.w3.weight";
  source.Data(tensor)[77] = std::nanf("");
  EXPECT_THAT(Damaged(source), ElementsAre(tensor));
}

TEST(DamagedTensors, OfAPackedMatrix_AreItsScales) {
  model::TestSource source;
  const std::string base = "model.layers.0.self_attn.k_proj";
  source.Remove(base + ".weight");
  source.AddTensor(base + ".qweight", {32, 2}, DType::kI32);
  source.AddTensor(base + ".qzeros", {1, 2}, DType::kI32);
  source.AddTensor(base + ".scales", {1, 16}, DType::kF16);
  auto* scales = reinterpret_cast<uint16_t*>(source.Data(base + ".scales"));
  std::fill_n(scales, 16, F32ToF16(0.05f));
  source.config().Set(
      "quantization_config",
      *Json::Parse(R"({"quant_method": "awq", "bits": 4, "group_size": 32})", "test"));
  EXPECT_THAT(Damaged(source), IsEmpty());
  scales[9] = 0x7E00;
  EXPECT_THAT(Damaged(source), ElementsAre(base + ".scales"));
}

TEST(NonFiniteWarning, ATensorThatBothSaw_CountsOnce) {
  EXPECT_FALSE(NonFiniteWarning("m", {}, {}).has_value());
  const std::string end =
      "; expect nonsense (`rill inspect` lists the tensors, --check-tensors refuses such a file)";
  EXPECT_EQ(NonFiniteWarning("m", {}, Names{"a"}),
            "m: tensor 'a': weights that are NaN or Inf were seen" + end);
  io::TensorReport sampled;
  sampled.defects.push_back({.name = "a", .num_nan = 1, .num_inf = 0, .first_index = 7});
  EXPECT_EQ(NonFiniteWarning("m", sampled, Names{"a", "a"}),
            "m: tensor 'a': a weight that is NaN or Inf was seen, element 7" + end);
  EXPECT_EQ(
      NonFiniteWarning("m", sampled, Names{"b", "a"}),
      "m: tensor 'a': a weight that is NaN or Inf was seen, element 7, and 1 more tensor" + end);
  sampled.defects.push_back({.name = "c", .num_nan = 1, .num_inf = 1, .first_index = 0});
  EXPECT_EQ(
      NonFiniteWarning("m", sampled, Names{"b", "c"}),
      "m: tensor 'a': a weight that is NaN or Inf was seen, element 7, and 2 more tensors" + end);
}

TEST(MadeNonFiniteWarning, ATensor_IsSaidToBeSoundInTheFile) {
  EXPECT_FALSE(MadeNonFiniteWarning("m", {}).has_value());
  const std::string start =
      "m: tensor 'a': finite in the file, but with Inf as f16, whose largest number is 65504";
  const std::string end = "; expect nonsense of every row, as all are compared with f16";
  EXPECT_EQ(MadeNonFiniteWarning("m", Names{"a", "a"}), start + end);
  EXPECT_EQ(MadeNonFiniteWarning("m", Names{"a", "b"}), start + ", and 1 more tensor" + end);
}

}  // namespace
}  // namespace rill::llm
