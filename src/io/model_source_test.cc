#include "io/model_source.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/testing.h"

namespace rill::io {
namespace {

TEST(ModelSource, HuggingFaceFile_TakesItsOwnConfig) {
  RILL_SHARED_DATA_OR_SKIP(folder, "models/hf-oracle");
  const auto source = OpenModel(folder + "/tiny_llama.safetensors");
  ASSERT_TRUE(source.ok()) << source.status().ToString();
  EXPECT_EQ(source->format, ModelFormat::kHuggingFace);
  EXPECT_EQ(source->config.GetString("model_type", "").value(), "llama");
  EXPECT_NE(source->tensors.Find("model.embed_tokens.weight"), nullptr);
}

TEST(ModelSource, ShardedByIndex_EqualsOneFile) {
  RILL_SHARED_DATA_OR_SKIP(folder, "models/hf-oracle");
  const auto one = OpenModel(folder + "/tiny_llama.safetensors");
  ASSERT_TRUE(one.ok()) << one.status().ToString();
  for (const char* name :
       {"/tiny_llama.safetensors.index.json", "/tiny_llama-00002-of-00002.safetensors"}) {
    const auto many = OpenModel(folder + name);
    ASSERT_TRUE(many.ok()) << many.status().ToString();
    EXPECT_EQ(many->tensors.files().size(), 2u);
    ASSERT_EQ(many->tensors.entries().size(), one->tensors.entries().size());
    for (const TensorEntry& entry : one->tensors.entries()) {
      const TensorEntry* other = many->tensors.Find(entry.name);
      ASSERT_NE(other, nullptr) << entry.name;
      ASSERT_EQ(other->view.shape, entry.view.shape);
      ASSERT_EQ(std::memcmp(other->view.data, entry.view.data,
                            static_cast<size_t>(entry.view.SizeBytes())),
                0);
    }
  }
}

TEST(ModelSource, FolderWithManyModels_AsksForOne) {
  RILL_SHARED_DATA_OR_SKIP(folder, "models/hf-oracle");
  const auto source = OpenModel(folder);
  ASSERT_FALSE(source.ok());
  EXPECT_NE(source.status().message().find("name one of the files"), std::string::npos)
      << source.status().message();
}

TEST(ModelSource, FolderWithOneModel_IsOpened) {
  RILL_SHARED_DATA_OR_SKIP(folder, "models/paged-infer-tiny");
  for (const std::string& path : {folder, folder + "/", folder + "/tiny_llama.safetensors"}) {
    const auto source = OpenModel(path);
    ASSERT_TRUE(source.ok()) << source.status().ToString();
    EXPECT_EQ(source->ReadSideFile("config.json", 1 << 20).ok(), true);
  }
}

// stories260K comes in four containers: the weights must be the same numbers.
TEST(ModelSource, Stories260K_SameTensorsInEveryContainer) {
  RILL_SHARED_DATA_OR_SKIP(folder, "models/stories260K");
  const auto v0 = OpenModel(folder + "/stories260K.bin");
  ASSERT_TRUE(v0.ok()) << v0.status().ToString();
  EXPECT_TRUE(v0->config.GetBool("rope_interleaved", false).value());
  const auto v1 = OpenModel(folder + "/stories260K.llama2c-v1.bin");
  ASSERT_TRUE(v1.ok()) << v1.status().ToString();
  EXPECT_EQ(v0->config.Dump(), v1->config.Dump());
  ASSERT_EQ(v0->tensors.entries().size(), v1->tensors.entries().size());
  for (const TensorEntry& entry : v0->tensors.entries()) {
    const TensorEntry* other = v1->tensors.Find(entry.name);
    ASSERT_NE(other, nullptr) << entry.name;
    ASSERT_EQ(
        std::memcmp(other->view.data, entry.view.data, static_cast<size_t>(entry.view.SizeBytes())),
        0)
        << entry.name;
  }
  const auto gguf = OpenModel(folder + "/stories260K.gguf");
  ASSERT_TRUE(gguf.ok()) << gguf.status().ToString();
  const auto gguf_v1 = OpenModel(folder + "/tinyllamas-stories-260k-f32.gguf");
  ASSERT_TRUE(gguf_v1.ok()) << gguf_v1.status().ToString();
  const TensorEntry* down = v0->tensors.Find("model.layers.2.mlp.down_proj.weight");
  ASSERT_NE(down, nullptr);
  for (const auto* source : {&*gguf, &*gguf_v1}) {
    const TensorEntry* other = source->tensors.Find("blk.2.ffn_down.weight");
    ASSERT_NE(other, nullptr);
    ASSERT_EQ(other->view.shape, down->view.shape);
    EXPECT_EQ(
        std::memcmp(other->view.data, down->view.data, static_cast<size_t>(down->view.SizeBytes())),
        0);
  }
}

TEST(ModelSource, SmolLm2_Opens) {
  const std::string path = testing::SmolLm2();
  if (path.empty()) GTEST_SKIP() << "skipped: no SmolLM2";
  const auto source = OpenModel(path);
  ASSERT_TRUE(source.ok()) << source.status().ToString();
  EXPECT_EQ(source->tensors.entries().size(), 272u);
  const auto tokens = source->gguf->GetStrings("tokenizer.ggml.tokens");
  ASSERT_TRUE(tokens.ok());
  EXPECT_EQ((*tokens)->size(), 49'152u);
}

}  // namespace
}  // namespace rill::io
