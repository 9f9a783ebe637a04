// Hostile tokenizer files: an error that says what is wrong, or defined behaviour, in bounded time.

#include <gtest/gtest.h>

#include <cstring>
#include <ctime>
#include <limits>
#include <string>

#include "base/json.h"
#include "text/normalizer.h"
#include "text/pattern_matcher.h"
#include "text/tokenizer_files.h"

namespace rill::text {
namespace {

std::string JsonFile(const std::string& model, const std::string& rest = "") {
  return R"({"added_tokens": [], "model": )" + model + rest + "}";
}

std::string LoadError(const std::string& file) {
  const auto tokenizer = LoadTokenizerJson(file, "test.json");
  return tokenizer.ok() ? std::string() : tokenizer.status().message();
}

TEST(HostileTokenizerJson, BadVocabulariesAreNamed) {
  EXPECT_NE(LoadError(JsonFile(R"({"type":"BPE","vocab":{},"merges":[]})")).find("empty"),
            std::string::npos);
  EXPECT_NE(LoadError(JsonFile(R"({"type":"BPE","vocab":{"a":-1},"merges":[]})")).find("id -1"),
            std::string::npos);
  EXPECT_NE(LoadError(JsonFile(R"({"type":"BPE","vocab":{"a":2147483647},"merges":[]})"))
                .find("2147483647"),
            std::string::npos);
  EXPECT_NE(
      LoadError(JsonFile(R"({"type":"BPE","vocab":{"a":0,"b":0},"merges":[]})")).find("used twice"),
      std::string::npos);
  EXPECT_NE(
      LoadError(JsonFile(R"({"type":"BPE","vocab":{"a":0,"a":1},"merges":[]})")).find("duplicate"),
      std::string::npos);
  EXPECT_NE(LoadError(JsonFile(R"({"type":"BPE","vocab":{"a":0},"merges":["a b"]})"))
                .find("\"b\" is not in the vocabulary"),
            std::string::npos);
  EXPECT_NE(
      LoadError(JsonFile(R"({"type":"Unigram","unk_id":9,"vocab":[["a",1]]})")).find("unk_id 9"),
      std::string::npos);
  EXPECT_NE(LoadError(JsonFile(R"({"type":"Magic","vocab":{"a":0}})")).find("Magic"),
            std::string::npos);
}

TEST(HostileTokenizerJson, IdGapsAreDefined) {
  auto tokenizer =
      LoadTokenizerJson(JsonFile(R"({"type":"BPE","vocab":{"a":0,"b":1000},"merges":[]})"), "t");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
  EXPECT_EQ((*tokenizer)->vocab_size(), 1001);
  EXPECT_EQ((*tokenizer)->Encode("ab"), (std::vector<int32_t>{0, 1000}));
  EXPECT_EQ((*tokenizer)->TokenText(500), "");
  EXPECT_EQ((*tokenizer)->Decode(std::vector<int32_t>{0, 500, 1000}), "a b");
  EXPECT_EQ((*tokenizer)->Decode(std::vector<int32_t>{-5, 1 << 30}), "\xEF\xBF\xBD \xEF\xBF\xBD");
}

TEST(HostileTokenizerJson, HugeTokenCostsLinearTime) {
  const std::string huge(10u << 20, 'a');
  auto tokenizer = LoadTokenizerJson(
      JsonFile(R"({"type":"BPE","vocab":{"a":0,"aa":1,")" + huge + R"(":2},"merges":["a a"]})"),
      "t");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
  EXPECT_EQ((*tokenizer)->Encode(std::string(1u << 20, 'a')).size(), 1u << 19);
  EXPECT_NE(LoadError(JsonFile(R"({"type":"Unigram","unk_id":0,"vocab":[["a",1],[")" + huge +
                               R"(",1]]})"))
                .find("limit 1024"),
            std::string::npos);
}

TEST(HostileTokenizerJson, StepsThatMultiplyATextAreRefusedAtLoad) {
  const std::string model = R"({"type":"BPE","vocab":{"a":0},"merges":[]})";
  const auto replace = [](const std::string& pattern, size_t count) {
    return R"({"type":"Replace","pattern":)" + pattern + R"(,"content":")" +
           std::string(count, 'a') + R"("})";
  };
  const auto sequence = [](const std::string& key, const std::string& step, int count) {
    std::string out = R"({"type":"Sequence",")" + key + R"(":[)" + step;
    for (int i = 1; i < count; ++i) out += "," + step;
    return out + "]}";
  };
  const std::string literal = R"({"String":"a"})";
  for (const std::string& step : {replace(literal, 16), replace(R"({"Regex":"a*"})", 16)}) {
    for (const auto& [name, key] :
         {std::pair("normalizer", "normalizers"), std::pair("decoder", "decoders")}) {
      const std::string rest = std::string(R"(,")") + name + R"(":)";
      EXPECT_EQ(LoadError(JsonFile(model, rest + sequence(key, step, 2))), "");
      EXPECT_NE(LoadError(JsonFile(model, rest + sequence(key, step, 12))).find("bytes of one"),
                std::string::npos)
          << name;
    }
  }
  EXPECT_NE(
      LoadError(JsonFile(model, R"(,"normalizer":)" + replace(literal, 513))).find("513 bytes"),
      std::string::npos);
  EXPECT_NE(LoadError(JsonFile(model, R"(,"normalizer":{"type":"Prepend","prepend":")" +
                                          std::string(1025, 'a') + "\"}"))
                .find("Prepend"),
            std::string::npos);
  // A character map: a trie of one unit, then a value of 97 bytes.
  std::string blob = {4, 0, 0, 0, 0, 0, 0, 0};
  EXPECT_TRUE(Charsmap::Parse(blob + std::string(96, 'x') + '\0' + "y").ok());
  EXPECT_FALSE(Charsmap::Parse(blob + std::string(97, 'x')).ok());
}

TEST(HostilePattern, CatastrophicBacktrackingIsRefusedAtLoad) {
  for (const char* pattern : {"(a+)+$", "(?:x+x+)+y", "^(?:(?:a|aa)+)+!", "(\\s*\\s*)*z"}) {
    const std::clock_t start = std::clock();
    const auto matcher = CompilePattern(pattern);
    EXPECT_FALSE(matcher.ok()) << pattern;
    EXPECT_NE(matcher.status().message().find("match limit"), std::string::npos) << pattern;
    EXPECT_LT(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC, 20.0) << pattern;
  }
  EXPECT_FALSE(CompilePattern("(unclosed").ok());
  EXPECT_TRUE(CompilePattern("\\w+|[^\\w\\s]+").ok());
}

// Protobuf by hand: a SentencePiece model of the given pieces.
std::string Piece(const std::string& text, float score, int type) {
  std::string body = "\x0A" + std::string(1, static_cast<char>(text.size())) + text + "\x15";
  char bytes[4];
  std::memcpy(bytes, &score, 4);
  body.append(bytes, 4);
  body += "\x18" + std::string(1, static_cast<char>(type));
  return "\x0A" + std::string(1, static_cast<char>(body.size())) + body;
}
const std::string kBpeTrainer("\x12\x02\x18\x02", 4);

TEST(HostileSentencePiece, BadModelsAreNamed) {
  const auto error = [](const std::string& bytes) {
    const auto tokenizer = LoadSentencePiece(bytes, "m");
    return tokenizer.ok() ? std::string() : tokenizer.status().message();
  };
  const std::string unk = Piece("<unk>", 0, 2);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_NE(error("").find("no unknown piece"), std::string::npos);
  EXPECT_NE(error(unk + Piece("a", nan, 1)).find("NaN"), std::string::npos);
  EXPECT_NE(error(unk + Piece("a", nan, 1) + kBpeTrainer).find("NaN"), std::string::npos);
  EXPECT_NE(error(unk + Piece("zz", 0, 6) + kBpeTrainer).find("<0x00>"), std::string::npos);
  EXPECT_NE(error(std::string("\x0A\xFF\xFF\xFF\xFF\x0F", 6)).find("at byte"), std::string::npos);
  EXPECT_NE(error(unk + std::string("\x12\x02\x18\x03", 4)).find("type 3"), std::string::npos);
}

TEST(HostileSentencePiece, EveryTruncationIsAnErrorOrATokenizer) {
  const std::string whole = Piece("<unk>", 0, 2) + Piece("a", -1, 1) + Piece("b", -2, 1) +
                            Piece("ab", -3, 1) + Piece("\xFF\xFE", -4, 1) + kBpeTrainer;
  for (size_t size = 0; size <= whole.size(); ++size) {
    const auto tokenizer = LoadSentencePiece(whole.substr(0, size), "m");
    if (!tokenizer.ok()) continue;
    const auto ids = (*tokenizer)->Encode("ab ba");
    (void)(*tokenizer)->Decode(ids);
  }
  auto tokenizer = LoadSentencePiece(whole, "m");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
  // A piece that is not UTF-8 decodes to U+FFFD.
  EXPECT_EQ((*tokenizer)->Decode(std::vector<int32_t>{4}), "\xEF\xBF\xBD\xEF\xBF\xBD");
}

}  // namespace
}  // namespace rill::text
