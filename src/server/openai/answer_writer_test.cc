// The JSON of answers, read back.
#include "server/openai/answer_writer.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/utf8.h"
#include "rill/json.h"

namespace rill::server::openai {
namespace {

AnswerOptions Options() {
  AnswerOptions options;
  options.id = "id-1";
  options.created = 7;
  options.model = "a \"model\"";
  options.fingerprint = "fp_1";
  options.token_bytes = [](int32_t id) -> std::string {
    if (id == 9) return "\xe2\x82";  // half a character
    return std::string(1, static_cast<char>('a' + id));
  };
  options.decode = [](std::span<const int32_t>) { return std::string(); };
  options.is_special = [](int32_t) { return false; };
  return options;
}

Json Event(const std::string& text) {
  EXPECT_TRUE(text.starts_with("data: ")) << text;
  EXPECT_TRUE(text.ends_with("\n\n")) << text;
  EXPECT_EQ(text.find('\n'), text.size() - 2) << text;
  auto json = Json::Parse(text.substr(6), "event");
  EXPECT_TRUE(json.ok()) << json.status().ToString() << text;
  return json.ok() ? *json : Json();
}

ChoiceText Piece(std::string text, std::vector<int32_t> ids) {
  ChoiceText piece;
  piece.text = std::move(text);
  for (int32_t id : ids) piece.tokens.push_back({id, -0.5f, {{id, -0.5f}, {id + 1, -1.25f}}});
  return piece;
}

TEST(ChatWriter, Stream_RoleOnceFinishAloneUsageLast) {
  AnswerOptions options = Options();
  options.include_usage = true;
  auto writer = MakeChatWriter(options);
  const UsageTotals usage = {.prompt_tokens = 3, .completion_tokens = 2, .cached_tokens = 1};
  const Json first = Event(writer->Delta(0, Piece("He\nl\"", {1}), true, nullptr, usage));
  EXPECT_EQ(first.Find("object")->string_value(), "chat.completion.chunk");
  EXPECT_EQ(first.Find("model")->string_value(), "a \"model\"");
  EXPECT_TRUE(first.Find("usage")->is_null());
  const Json& choice = first.Find("choices")->array()[0];
  EXPECT_EQ(choice.Find("delta")->Find("role")->string_value(), "assistant");
  EXPECT_EQ(choice.Find("delta")->Find("content")->string_value(), "He\nl\"");
  ASSERT_TRUE(choice.Find("finish_reason"));
  EXPECT_TRUE(choice.Find("finish_reason")->is_null());
  EXPECT_TRUE(choice.Find("logprobs")->is_null());

  const Json second = Event(writer->Delta(0, Piece("x", {1}), false, nullptr, usage));
  EXPECT_FALSE(second.Find("choices")->array()[0].Find("delta")->Find("role"));

  ChoiceText end;
  end.finish = FinishReason::kLength;
  const Json finish = Event(writer->Finish(0, end, usage));
  EXPECT_TRUE(finish.Find("choices")->array()[0].Find("delta")->object().empty());
  EXPECT_EQ(finish.Find("choices")->array()[0].Find("finish_reason")->string_value(), "length");

  const Json totals = Event(writer->UsageChunk(usage));
  EXPECT_TRUE(totals.Find("choices")->array().empty());
  EXPECT_EQ(totals.Find("usage")->Find("total_tokens")->int_value(), 5);
  EXPECT_EQ(totals.Find("usage")->Find("prompt_tokens_details")->Find("cached_tokens")->int_value(),
            1);
}

TEST(ChatWriter, Logprobs_TokensBytesAndAlternatives) {
  AnswerOptions options = Options();
  options.logprobs = true;
  auto writer = MakeChatWriter(options);
  ChoiceText choice = Piece("b", {1, 9});
  choice.tokens[1].logprob = -std::numeric_limits<float>::infinity();
  choice.finish = FinishReason::kStop;
  const auto body = Json::Parse(writer->Whole({choice}, {PromptPart()}, {}), "body");
  ASSERT_TRUE(body.ok()) << body.status().ToString();
  const Json::Array& content =
      body->Find("choices")->array()[0].Find("logprobs")->Find("content")->array();
  ASSERT_EQ(content.size(), 2u);
  EXPECT_EQ(content[0].Find("token")->string_value(), "b");
  EXPECT_EQ(content[0].Find("bytes")->array()[0].int_value(), 'b');
  EXPECT_EQ(content[0].Find("top_logprobs")->array().size(), 2u);
  EXPECT_EQ(content[1].Find("token")->string_value(), "bytes:\\xe2\\x82");
  EXPECT_EQ(content[1].Find("logprob")->number_value(), -9999.0);
}

// What lm-eval reads: prompt + 1 entries, null first, the token itself among the top ones, and
// equal values written with equal digits.
TEST(CompletionWriter, EchoWithLogprobs_PromptFirst) {
  AnswerOptions options = Options();
  options.logprobs = true;
  auto writer = MakeCompletionWriter(options, 1);
  PromptPart prompt;
  prompt.echo = true;
  prompt.echo_text = "abc";
  prompt.logprobs.push_back({0, 0, {}});
  prompt.logprobs.push_back({1, -0.1f, {{1, -0.1f}}});
  prompt.logprobs.push_back({2, -7.3f, {{4, -0.2f}}});
  ChoiceText choice = Piece("d", {3});
  choice.finish = FinishReason::kLength;
  const std::string text = writer->Whole({choice}, {prompt}, {});
  const auto body = Json::Parse(text, "body");
  ASSERT_TRUE(body.ok()) << body.status().ToString();
  const Json& answer = body->Find("choices")->array()[0];
  EXPECT_EQ(answer.Find("text")->string_value(), "abcd");
  const Json& logprobs = *answer.Find("logprobs");
  ASSERT_EQ(logprobs.Find("tokens")->array().size(), 4u);
  EXPECT_TRUE(logprobs.Find("token_logprobs")->array()[0].is_null());
  EXPECT_TRUE(logprobs.Find("top_logprobs")->array()[0].is_null());
  EXPECT_EQ(logprobs.Find("text_offset")->array()[3].int_value(), 3);
  // Greedy where the token is the maximum of its alternatives.
  const Json& greedy = logprobs.Find("top_logprobs")->array()[1];
  EXPECT_EQ(greedy.Find("b")->number_value(),
            logprobs.Find("token_logprobs")->array()[1].number_value());
  const Json& other = logprobs.Find("top_logprobs")->array()[2];
  EXPECT_EQ(other.object().size(), 2u);
  EXPECT_LT(other.Find("c")->number_value(), other.Find("e")->number_value());
}

TEST(CompletionWriter, Batch_IndexIsPromptTimesNPlusChoice) {
  auto writer = MakeCompletionWriter(Options(), 2);
  std::vector<ChoiceText> choices = {Piece("a", {0}), Piece("b", {1}), Piece("c", {2}),
                                     Piece("d", {3})};
  PromptPart one, two;
  one.echo = two.echo = true;
  one.echo_text = "1";
  two.echo_text = "2";
  const auto body = Json::Parse(writer->Whole(choices, {one, two}, {}), "body");
  ASSERT_TRUE(body.ok());
  const Json::Array& answers = body->Find("choices")->array();
  const std::vector<std::string> texts = {"1a", "1b", "2c", "2d"};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(answers[i].Find("index")->int_value(), static_cast<int64_t>(i));
    EXPECT_EQ(answers[i].Find("text")->string_value(), texts[i]);
  }
}

TEST(JsonStringBytes, IsWhatIsWritten) {
  std::string ascii;
  for (int c = 0; c < 128; ++c) ascii += static_cast<char>(c);
  for (const std::string& text :
       {std::string(), std::string("plain"), ascii, std::string("\xC3\xA9\xF0\x9F\x98\x80"),
        std::string(100, '\x01'), std::string(50, '"')}) {
    std::string out;
    AppendJsonString(out, text);
    EXPECT_EQ(JsonStringBytes(text), static_cast<int64_t>(out.size())) << out;
  }
  for (const std::string& text : {std::string("\xFF\xFE"), std::string("\xC3\xA9\xC3")}) {
    std::string out;
    AppendJsonString(out, text);
    EXPECT_GE(JsonStringBytes(text), static_cast<int64_t>(out.size())) << out;
  }
}

TEST(BytesThatFit, IsTheLongestBeginningOfWholeCharacters) {
  const std::string text = "a\x01\"\xC3\xA9\xF0\x9F\x98\x80\xFFz";
  for (int64_t most = 0; most < 40; ++most) {
    const size_t size = BytesThatFit(text, most);
    std::string out;
    AppendJsonString(out, text.substr(0, size));
    EXPECT_TRUE(static_cast<int64_t>(out.size()) <= most || size == 1) << most;
    EXPECT_EQ(BytesThatFit(std::string_view(text).substr(0, size), most), size);
    if (size == text.size()) continue;
    const size_t more = size + DecodeUtf8(std::string_view(text).substr(size)).size;
    out.clear();
    AppendJsonString(out, text.substr(0, more));
    EXPECT_GT(static_cast<int64_t>(out.size()), most) << most;
  }
  EXPECT_EQ(BytesThatFit("", 100), 0u);
}

TEST(Logprob, FloatsRoundTrip) {
  for (float value : {-0.1f, -1.1754944e-38f, -3.4e38f, -1.0f, 0.0f, -12.345678f}) {
    std::string text;
    AppendLogprob(text, value);
    if (value < -9999.0f) {
      EXPECT_EQ(text, "-9999.0");
    } else {
      EXPECT_EQ(std::stof(text), value) << text;
    }
  }
}

}  // namespace
}  // namespace rill::server::openai
