#include "io/llama2c.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/testing.h"
#include "io/model_source.h"
#include "io/test_files.h"

namespace rill::io {
namespace {

using testing::Bytes;
using ::testing::HasSubstr;
using testing::Put;

// dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, max_seq_len
using Fields = std::vector<int32_t>;
const Fields kGood = {4, 6, 2, 2, 1, 3, 5};

std::string Checkpoint(int version, const Fields& fields, size_t num_floats) {
  std::string out;
  if (version > 0) {
    out = "24ka";
    Put(out, int32_t{version});
  }
  for (int32_t field : fields) Put(out, field);
  if (version > 0) {
    out += '\1';
    out.resize(256, '\0');
  }
  for (size_t i = 0; i < num_floats; ++i) Put(out, static_cast<float>(i));
  return out;
}

// Per layer: two norms of 4, q and o 4 x 4, k and v 2 x 4, gate, up and down 6 x 4.
constexpr size_t kLayerFloats = 2 * 4 + 2 * 16 + 2 * 8 + 3 * 24;
constexpr size_t kSharedFloats = 3 * 4 + 2 * kLayerFloats + 4;
constexpr size_t kRopeFloats = 2 * 5 * 1;

TEST(Llama2c, BothVersions_NameTheirTensors) {
  for (int version : {0, 1}) {
    const std::string bytes =
        Checkpoint(version, kGood, kSharedFloats + (version == 0 ? kRopeFloats : 0));
    ASSERT_TRUE(IsLlama2c(Bytes(bytes)));
    const auto model = ParseLlama2c(Bytes(bytes), "m.bin");
    ASSERT_TRUE(model.ok()) << model.status().ToString();
    EXPECT_EQ(model->tensors.entries().size(), 2u + 2 * 9);
    EXPECT_EQ(model->tensors.Find("model.layers.1.self_attn.k_proj.weight")->view.shape,
              (Shape{2, 4}));
    // Version 1 begins with the norms, version 0 with the embedding.
    const char* first =
        version == 0 ? "model.embed_tokens.weight" : "model.layers.0.input_layernorm.weight";
    EXPECT_EQ(*model->tensors.Find(first)->view.As<float>(), 0.0f);
    EXPECT_EQ(model->config.GetInt("num_key_value_heads", 0).value(), 1);
    EXPECT_TRUE(model->config.GetBool("tie_word_embeddings", false).value());
  }
}

TEST(Llama2c, NegativeVocabSize_MeansItsOwnLmHead) {
  Fields fields = kGood;
  fields[5] = -3;
  const std::string bytes = Checkpoint(0, fields, kSharedFloats + kRopeFloats + 12);
  const auto model = ParseLlama2c(Bytes(bytes), "m.bin");
  ASSERT_TRUE(model.ok()) << model.status().ToString();
  EXPECT_EQ(model->tensors.Find("lm_head.weight")->view.shape, (Shape{3, 4}));
  EXPECT_FALSE(model->config.GetBool("tie_word_embeddings", true).value());
}

TEST(Llama2c, TruncatedAtEveryByteOrLonger_IsAnError) {
  for (int version : {0, 1}) {
    const std::string whole =
        Checkpoint(version, kGood, kSharedFloats + (version == 0 ? kRopeFloats : 0));
    for (size_t size = 0; size < whole.size(); ++size) {
      EXPECT_FALSE(ParseLlama2c(Bytes(std::string(whole.data(), size)), "m").ok()) << size;
    }
    EXPECT_FALSE(ParseLlama2c(Bytes(whole + "x"), "m").ok());
  }
}

TEST(Llama2c, HostileHeaders_AreRefused) {
  for (size_t field = 0; field < kGood.size(); ++field) {
    for (int32_t value : {0, -1, INT32_MAX, INT32_MIN, 1 << 30}) {
      Fields fields = kGood;
      fields[field] = value;
      const std::string bytes = Checkpoint(0, fields, kSharedFloats + kRopeFloats);
      EXPECT_FALSE(ParseLlama2c(Bytes(bytes), "m").ok()) << field << " = " << value;
      EXPECT_FALSE(IsLlama2c(Bytes(bytes)));
    }
  }
  EXPECT_THAT(ParseLlama2c(Bytes(Checkpoint(2, kGood, 100)), "m").status().message(),
              HasSubstr("version 2 is not supported; supported: 0 and 1"));
}

TEST(Llama2c, PicklesAndOtherBins_AreRefusedWithTheReason) {
  testing::TempFolder folder;
  for (const char* name : {"pytorch_model.bin", "model.pt", "model.pth", "model.pkl"}) {
    for (const std::string head : {"PK\x03\x04", "\x80\x02}q\x01", "\x80\x04\x95"}) {
      const std::string path = folder.Write(name, head + std::string(300, 'x'));
      const auto source = OpenModel(path);
      ASSERT_FALSE(source.ok());
      EXPECT_EQ(source.status().code(), StatusCode::kUnsupported);
      EXPECT_THAT(source.status().message(), HasSubstr("pickles can run any code"));
    }
  }
  const auto other = OpenModel(folder.Write("other.bin", std::string(300, 'x')));
  EXPECT_EQ(other.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(other.status().message(), HasSubstr("other.bin: unknown format; expected"));
  folder.Write("config.json", R"({"auto_map":{"AutoModel":"evil.Model"}})");
  EXPECT_THAT(OpenModel(folder.path()).status().message(), HasSubstr("pickles can run any code"));
}

TEST(Llama2cVocab, HostileBytes_AreRefused) {
  std::string good;
  Put(good, uint32_t{5});
  for (const std::string piece : {"<unk>", "", "a b"}) {
    Put(good, -1.5f);
    Put(good, static_cast<int32_t>(piece.size()));
    good += piece;
  }
  const auto vocab = ParseLlama2cVocab(Bytes(good), "tok.bin");
  ASSERT_TRUE(vocab.ok()) << vocab.status().ToString();
  EXPECT_EQ(vocab->pieces, (std::vector<std::string>{"<unk>", "", "a b"}));
  // Cuts at the border of two tokens are shorter vocabularies; all others are errors.
  int accepted = 0;
  for (size_t size = 0; size < good.size(); ++size) {
    accepted += ParseLlama2cVocab(Bytes(std::string(good.data(), size)), "t").ok();
  }
  EXPECT_EQ(accepted, 2);
  for (int32_t length : {-1, 6, INT32_MAX, INT32_MIN}) {
    std::string bad = good;
    std::memcpy(bad.data() + 8, &length, sizeof length);
    EXPECT_THAT(ParseLlama2cVocab(Bytes(bad), "t").status().message(),
                HasSubstr("token 0 at byte 4"));
  }
  std::string nan = good;
  const uint32_t bits = 0x7FC00000u;
  std::memcpy(nan.data() + 4, &bits, sizeof bits);
  EXPECT_THAT(ParseLlama2cVocab(Bytes(nan), "t").status().message(), HasSubstr("NaN"));
}

TEST(Llama2cVocab, Stories_EqualsItsGguf) {
  RILL_SHARED_DATA_OR_SKIP(folder, "models/stories260K");
  const auto vocab = ReadLlama2cVocab(folder + "/icpp/tok512.bin");
  ASSERT_TRUE(vocab.ok()) << vocab.status().ToString();
  ASSERT_EQ(vocab->pieces.size(), 512u);
  const auto gguf = OpenGguf(folder + "/stories260K.gguf");
  ASSERT_TRUE(gguf.ok());
  const auto tokens = gguf->metadata.GetStrings("tokenizer.ggml.tokens");
  ASSERT_TRUE(tokens.ok() && tokens->has_value());
  ASSERT_EQ((*tokens)->size(), 512u);
  for (size_t i = 3; i < 512; ++i) {
    std::string piece;  // U+2581 is written as a space
    for (size_t at = 0; at < (**tokens)[i].size();) {
      const bool space = (**tokens)[i].substr(at).starts_with("\xE2\x96\x81");
      piece += space ? ' ' : (**tokens)[i][at];
      at += space ? 3 : 1;
    }
    EXPECT_EQ(vocab->pieces[i], piece) << i;
  }
}

}  // namespace
}  // namespace rill::io
