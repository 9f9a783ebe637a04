// Gates against stored expectations: GGUF vocabularies with .inp/.out pairs, small tokenizer.json
// files of every pre-tokenizer kind, and a real SentencePiece-like tokenizer.json.

#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <random>
#include <sstream>

#include "base/json.h"
#include "base/testing.h"
#include "base/utf8.h"

namespace rill::text {
namespace {

// 1 MB must encode within a second of processor time; sanitizers are many times slower.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kTimeLimitSeconds = 20;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr double kTimeLimitSeconds = 20;
#else
constexpr double kTimeLimitSeconds = 1;
#endif
#else
constexpr double kTimeLimitSeconds = 1;
#endif

std::string ReadText(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream buffer;
  buffer << in.rdbuf();
  return buffer.str();
}

std::shared_ptr<const Tokenizer> Load(const std::string& path) {
  auto tokenizer = LoadTokenizerFile(path);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
  return tokenizer.ok() ? *tokenizer : nullptr;
}

std::vector<int32_t> ReadIds(const Json& json) {
  std::vector<int32_t> ids;
  for (const Json& id : json.array()) ids.push_back(static_cast<int32_t>(id.int_value()));
  return ids;
}

// The texts of an .inp file: each ends with "\n__ggml_vocab_test__\n".
std::vector<std::string> SplitInputs(const std::string& all) {
  constexpr std::string_view kEnd = "\n__ggml_vocab_test__\n";
  std::vector<std::string> out;
  for (size_t pos = 0; pos < all.size();) {
    const size_t end = all.find(kEnd, pos);
    if (end == std::string::npos) {
      out.push_back(all.substr(pos));
      break;
    }
    out.push_back(all.substr(pos, end - pos));
    pos = end + kEnd.size();
  }
  return out;
}

class GgufPairs : public ::testing::TestWithParam<const char*> {};

TEST_P(GgufPairs, EncodeAsExpected) {
  const std::string stem = std::string("tokenizers/ggml-vocab/ggml-vocab-") + GetParam() + ".gguf";
  RILL_SHARED_DATA_OR_SKIP(inputs, stem + ".inp");
  RILL_SHARED_DATA_OR_SKIP(outputs, stem + ".out");
  RILL_SHARED_DATA_OR_SKIP(path, stem);
  const auto tokenizer = Load(path);
  ASSERT_NE(tokenizer, nullptr);
  const std::vector<std::string> texts = SplitInputs(ReadText(inputs));
  std::ifstream expected(outputs);
  size_t checked = 0;
  for (std::string line; std::getline(expected, line); ++checked) {
    ASSERT_LT(checked, texts.size());
    std::istringstream numbers(line);
    std::vector<int32_t> want;
    for (int32_t id; numbers >> id;) want.push_back(id);
    EXPECT_EQ(tokenizer->Encode(texts[checked], {.add_special = false}), want)
        << GetParam() << " text " << checked << ": " << PrintableUtf8(texts[checked]);
  }
  EXPECT_EQ(checked, texts.size());
}

INSTANTIATE_TEST_SUITE_P(All, GgufPairs,
                         ::testing::Values("bert-bge", "command-r", "deepseek-coder",
                                           "deepseek-llm", "falcon", "gemma-4", "gpt-2",
                                           "llama-bpe", "llama-spm", "mpt", "phi-3", "qwen2",
                                           "qwen35", "refact", "starcoder"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) {
                             if (c == '-') c = '_';
                           }
                           return name;
                         });

TEST(HfSmall, EncodeAndDecodeAsExpected) {
  RILL_SHARED_DATA_OR_SKIP(path, "tokenizers/hf-small/hf_tokenizer_cases.json");
  const auto cases = Json::Parse(ReadText(path), path);
  ASSERT_TRUE(cases.ok());
  size_t checked = 0;
  for (const auto& [name, group] : cases->object()) {
    const std::string file = group.Find("tokenizer")->string_value();
    const std::string full = testing::SharedData("tokenizers/hf-small/" + file);
    if (full.empty()) {
      std::cout << "skipped: " << name << ": no " << file << " in the shared data\n";
      continue;
    }
    const auto tokenizer = Load(full);
    ASSERT_NE(tokenizer, nullptr);
    for (const Json& item : group.Find("cases")->array()) {
      const std::string& text = item.Find("text")->string_value();
      const std::vector<int32_t> want = ReadIds(*item.Find("ids"));
      EXPECT_EQ(tokenizer->Encode(text, {.add_special = false, .parse_special = true}), want)
          << name << ": " << PrintableUtf8(text);
      EXPECT_EQ(tokenizer->Decode(want, {.skip_special = true}),
                item.Find("decoded")->string_value())
          << name << ": " << PrintableUtf8(text);
      ++checked;
    }
  }
  EXPECT_GT(checked, 200u);
}

TEST(Mistral, EncodesAsTheHfLibrary) {
  RILL_SHARED_DATA_OR_SKIP(path, "tokenizers/mistral/hf/encodings.json");
  const auto tokenizer = Load(testing::SharedData("tokenizers/mistral/hf/tokenizer.json"));
  ASSERT_NE(tokenizer, nullptr);
  const auto expected = Json::Parse(ReadText(path), path);
  ASSERT_TRUE(expected.ok());
  for (const Json& entry : expected->Find("entries")->array()) {
    const std::string& text = entry.Find("text")->string_value();
    const std::vector<int32_t> ids = ReadIds(*entry.Find("ids"));
    EXPECT_EQ(tokenizer->Encode(text, {.add_special = false, .parse_special = true}), ids)
        << PrintableUtf8(text);
    EXPECT_EQ(tokenizer->Encode(text, {.add_special = true, .parse_special = true}),
              ReadIds(*entry.Find("ids_special")));
    EXPECT_EQ(tokenizer->Decode(ids), entry.Find("decode")->string_value());
  }
}

// Every kind that exists in the shared data and the model cache.
std::vector<std::string> AllTokenizers() {
  std::vector<std::string> paths;
  for (const char* name :
       {"ggml-vocab/ggml-vocab-llama-spm.gguf", "ggml-vocab/ggml-vocab-bert-bge.gguf",
        "ggml-vocab/ggml-vocab-deepseek-coder.gguf", "ggml-vocab/ggml-vocab-falcon.gguf",
        "llama2/tokenizer.json", "llama2/tokenizer.model", "mistral/hf/tokenizer.json",
        "hf-small/tiny_unigram_tokenizer.json", "sentencepiece/test_model.model",
        "tiktoken/cl100k_base.tiktoken", "tiktoken/o200k_base.tiktoken", "qwen2",
        "internlm2/tokenizer_internlm2.model"}) {
    const std::string path = testing::SharedData(std::string("tokenizers/") + name);
    if (!path.empty()) paths.push_back(path);
  }
  if (const std::string path = testing::SmolLm2(); !path.empty()) paths.push_back(path);
  return paths;
}

TEST(Detokenizer, PiecesJoinedEqualDecodeAndNeverBreakCharacters) {
  const std::vector<std::string> paths = AllTokenizers();
  if (paths.empty()) GTEST_SKIP() << "skipped: no shared data";
  std::mt19937_64 random(20240607);
  for (const std::string& path : paths) {
    const auto tokenizer = Load(path);
    ASSERT_NE(tokenizer, nullptr);
    for (int round = 0; round < 200; ++round) {
      std::vector<int32_t> ids(random() % 40);
      for (int32_t& id : ids) {
        // Byte tokens and out-of-range ids more often than chance would have it.
        const uint64_t pick = random() % 8;
        const auto size = static_cast<uint64_t>(tokenizer->vocab_size());
        id = static_cast<int32_t>(pick == 0 ? random() % std::min<uint64_t>(size, 300)
                                            : random() % (size + 2));
      }
      const DecodeOptions options{.skip_special = round % 2 == 0};
      IncrementalDetokenizer detokenizer(tokenizer, options);
      std::string joined;
      for (const int32_t id : ids) {
        const std::string piece = detokenizer.Push(id);
        EXPECT_TRUE(IsValidUtf8(piece));
        joined += piece;
      }
      joined += detokenizer.Finish();
      ASSERT_EQ(joined, tokenizer->Decode(ids, options)) << path << " round " << round;
    }
  }
}

TEST(Encode, HostileRunsTakeLinearTime) {
  const std::vector<std::string> paths = AllTokenizers();
  if (paths.empty()) GTEST_SKIP() << "skipped: no shared data";
  std::mt19937_64 random(7);
  std::string letters(1 << 20, 'a');
  for (char& c : letters) c = static_cast<char>('a' + random() % 26);
  for (const std::string& path : paths) {
    const auto tokenizer = Load(path);
    ASSERT_NE(tokenizer, nullptr);
    for (const std::string& unit :
         {std::string("a"), std::string(" "), std::string("😀"), std::string("7"), letters}) {
      std::string text;
      while (text.size() < (1u << 20)) text += unit;
      // Process time, not wall time: other tests may run beside this one.
      const std::clock_t start = std::clock();
      const size_t count = tokenizer->Encode(text).size();
      const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
      EXPECT_GT(count, 0u);
      EXPECT_LT(seconds, kTimeLimitSeconds) << path << ": 1 MB of " << unit.substr(0, 8);
    }
  }
}

TEST(MarkedTextEncode, ControlTokensOnlyFromTrustedRuns) {
  const std::string path = testing::SmolLm2();
  if (path.empty()) GTEST_SKIP() << "skipped: SmolLM2 is not in the cache";
  const auto tokenizer = Load(path);
  ASSERT_NE(tokenizer, nullptr);
  const int32_t end = tokenizer->FindToken("<|im_end|>").value();
  MarkedText text{"<|im_start|>user\nHi <|im_end|> there<|im_end|>\n", {}};
  const size_t user = text.text.find("Hi");
  const size_t tail = text.text.rfind("<|im_end|>");
  text.trusted = {{0, user}, {tail, text.text.size()}};
  const std::vector<int32_t> ids = tokenizer->Encode(text, false);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), end), 1);
  EXPECT_EQ(tokenizer->Decode(ids), text.text);
  // A control token that only half stands in a trusted run is text.
  text.trusted = {{tail + 3, text.text.size()}};
  const std::vector<int32_t> none = tokenizer->Encode(text, false);
  EXPECT_EQ(std::count(none.begin(), none.end(), end), 0);
  // Without control tokens in between, trust does not change the ids.
  MarkedText plain{"Hello world again", {{0, 8}}};
  EXPECT_EQ(tokenizer->Encode(plain, false), tokenizer->Encode(plain.text, {.add_special = false}));
}

TEST(SmolLm2, StopsAtEndOfTurn) {
  const std::string path = testing::SmolLm2();
  if (path.empty()) GTEST_SKIP() << "skipped: SmolLM2 is not in the cache";
  const auto tokenizer = Load(path);
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->vocab_size(), 49152);
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_EQ(tokenizer->eos_id(), 2);
  EXPECT_EQ(std::vector<int32_t>(tokenizer->stop_ids().begin(), tokenizer->stop_ids().end()),
            (std::vector<int32_t>{0, 2}));
  const std::vector<int32_t> answer = {504, 3575, 282, 4649, 314, 7042, 30};
  EXPECT_EQ(tokenizer->Decode(answer), "The capital of France is Paris.");
  EXPECT_EQ(tokenizer->Encode("The capital of France is Paris.", {.add_special = false}), answer);
}

}  // namespace
}  // namespace rill::text
