#include "llm/model_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "llm/pull_manifest.h"

namespace rill::llm {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class ModelStoreTest : public ::testing::Test {
 protected:
  ModelStoreTest() : root_(fs::path(::testing::TempDir()) / "rill-store-XXXXXX") {
    std::string pattern = root_.string();
    root_ = ::mkdtemp(pattern.data());
  }
  ~ModelStoreTest() override { fs::remove_all(root_); }

  std::string Write(const std::string& relative, const std::string& text = "x") {
    const fs::path path = root_ / relative;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
    return path.string();
  }
  ModelStore store() const { return ModelStore(root_.string()); }

  fs::path root_;
};

TEST_F(ModelStoreTest, Resolve_Name_IsItsOnlyGguf) {
  const std::string path = Write("models/smollm2/SmolLM2.Q4_1.gguf");
  EXPECT_EQ(store().Resolve("smollm2").value(), path);
  EXPECT_EQ(store().Resolve("smollm2:q4_1").value(), path);
  EXPECT_EQ(store().Resolve("smollm2/").value(), path);
  EXPECT_TRUE(store().LooksLikeModel("smollm2/"));
}

TEST_F(ModelStoreTest, Resolve_Path_IsThatPath) {
  const std::string file = Write("elsewhere/m.gguf");
  EXPECT_EQ(store().Resolve(file).value(), file);
  EXPECT_EQ(store().Resolve((root_ / "elsewhere").string()).value(),
            (root_ / "elsewhere").string());
}

TEST_F(ModelStoreTest, Resolve_HubRepository_FolderOrPreferredFile) {
  Write("models/hf/me/safe/config.json");
  Write("models/hf/me/safe/model.safetensors");
  Write("models/hf/me/many/m.Q2_K.gguf");
  const std::string preferred = Write("models/hf/me/many/m.Q4_K_M.gguf");
  const std::string other = Write("models/hf/me/many/m.Q8_0.gguf");
  EXPECT_EQ(store().Resolve("hf:me/safe").value(), store().models_folder() + "/hf/me/safe");
  EXPECT_EQ(store().Resolve("hf:me/many").value(), preferred);
  EXPECT_EQ(store().Resolve("hf:me/many:Q8_0").value(), other);
  EXPECT_EQ(store().Resolve("hf:me/many:m.Q8_0.gguf").value(), other);
  EXPECT_EQ(store().Resolve("hf:me/none").status().code(), StatusCode::kNotFound);
  const Status ambiguous = store().Resolve("hf:me/many:m").status();
  EXPECT_EQ(ambiguous.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(ambiguous.message(), HasSubstr("m.Q2_K.gguf, m.Q4_K_M.gguf, m.Q8_0.gguf"));
}

TEST_F(ModelStoreTest, Resolve_SplitModel_IsItsFirstPart) {
  const std::string first = Write("models/big/m-Q8_0-00001-of-00002.gguf");
  Write("models/big/m-Q8_0-00002-of-00002.gguf");
  EXPECT_EQ(store().Resolve("big").value(), first);
  ASSERT_EQ(store().List().size(), 1u);
  EXPECT_EQ(store().List()[0].name, "big");
  EXPECT_EQ(store().List()[0].size_bytes, 2u);
}

TEST_F(ModelStoreTest, Resolve_UnfinishedPull_IsRefused) {
  Write("models/hf/me/m/config.json");
  Write("models/hf/me/m/a.safetensors");
  PullManifest manifest;
  manifest.unfinished = {"config.json", "a.safetensors", "b.safetensors"};
  ASSERT_TRUE(WriteManifest(store().models_folder() + "/hf/me/m", manifest).ok());
  const Status status = store().Resolve("hf:me/m").status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("rill pull hf:me/m"));
  EXPECT_TRUE(store().List().empty());
}

TEST_F(ModelStoreTest, Resolve_Unknown_ListsWhatIsThere) {
  Write("models/tiny/t.gguf");
  const Status status = store().Resolve("smollm3").status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("pulled are: tiny"));
  EXPECT_THAT(status.message(), HasSubstr("rill pull smollm2"));
}

TEST_F(ModelStoreTest, Resolve_NamesThatLeaveTheStore_AreNotNames) {
  Write("secret.gguf");
  for (const char* name : {"..", ".", "hf:../x", "hf:a/..", "hf:a/b/c", "hf:a",
                           "hf:", "hf:a/b:../../../secret.gguf", "hf:a/b:"}) {
    EXPECT_FALSE(store().Resolve(std::string(name) + (name[0] == '.' ? ":secret.gguf" : "")).ok())
        << name;
  }
  EXPECT_FALSE(store().Resolve(std::string_view("a\0b", 3)).ok());
  EXPECT_FALSE(store().Resolve(std::string(100000, 'a')).ok());
}

TEST_F(ModelStoreTest, LooksLikeModel_TellsPromptsFromModels) {
  Write("models/smollm2/m.gguf");
  const std::string file = Write("my model.gguf");
  EXPECT_TRUE(store().LooksLikeModel("smollm2"));
  EXPECT_TRUE(store().LooksLikeModel(file));
  EXPECT_TRUE(store().LooksLikeModel("hf:a/b"));
  EXPECT_TRUE(store().LooksLikeModel("missing.gguf"));
  EXPECT_FALSE(store().LooksLikeModel("Why is the sky blue?"));
  EXPECT_FALSE(store().LooksLikeModel("Hello"));
  EXPECT_FALSE(store().LooksLikeModel("What is in m.gguf"));
  EXPECT_FALSE(store().LooksLikeModel(""));
}

TEST_F(ModelStoreTest, FromEnvironment_FollowsTheOrder) {
  const auto with = [](const char* cache, const char* xdg, const char* home) {
    ::setenv("RILL_CACHE", cache, 1);
    ::setenv("XDG_CACHE_HOME", xdg, 1);
    ::setenv("HOME", home, 1);
    auto store = ModelStore::FromEnvironment();
    return store.ok() ? store->root() : std::string("error");
  };
  const std::string old_home = std::getenv("HOME") ? std::getenv("HOME") : "";
  EXPECT_EQ(with("/a", "/b", "/c"), "/a");
  EXPECT_EQ(with("", "/b", "/c"), "/b/rill");
  EXPECT_EQ(with("", "relative", "/c"), "/c/.cache/rill");
  EXPECT_EQ(with("", "", ""), "error");
  ::unsetenv("RILL_CACHE");
  ::unsetenv("XDG_CACHE_HOME");
  ::setenv("HOME", old_home.c_str(), 1);
}

TEST(PreferredGguf, FollowsTheStatedRule) {
  EXPECT_EQ(PreferredGguf({}), -1);
  EXPECT_EQ(PreferredGguf({"m.gguf"}), 0);
  EXPECT_EQ(PreferredGguf({"m.Q8_0.gguf", "m.q4_k_m.gguf"}), 1);
  EXPECT_EQ(PreferredGguf({"m-Q2_K.gguf", "m-Q8_0.gguf"}), 1);
  EXPECT_EQ(PreferredGguf({"m-Q2_K.gguf", "m-Q3_K.gguf"}), -1);
  EXPECT_EQ(PreferredGguf({"m.gguf", "mmproj-m.gguf"}), 0);
  EXPECT_EQ(PreferredGguf({"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"}), 0);
}

TEST(CheckRelativeFileName, RefusesWhatLeavesTheFolder) {
  for (const char* name : {"model.gguf", "Q4/model-00001-of-00002.gguf", "Modèle.gguf"}) {
    EXPECT_TRUE(CheckRelativeFileName(name).ok()) << name;
  }
  for (const char* name : {"", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".hidden", "a/.ssh/b",
                           "a\\b", "a\nb", "\xff", "."}) {
    EXPECT_FALSE(CheckRelativeFileName(name).ok()) << name;
  }
}

}  // namespace
}  // namespace rill::llm
