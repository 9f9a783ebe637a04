// Where tokens begin in a text: with a vocabulary that decodes as SentencePiece does.
#include "server/openai/text_offsets.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace rill::server::openai {
namespace {

constexpr int32_t kBos = 0, kEnd = 1, kOnce = 2, kUpon = 3, kSpace = 4, kDot = 5;
constexpr int32_t kEuro0 = 6, kEuro1 = 7, kEuro2 = 8, kStray = 9;
const std::vector<std::string> kBytes = {"<s>", "<e>",  " Once", " upon", " ",
                                         ".",   "\xE2", "\x82",  "\xAC",  "\xFF"};

bool IsSpecial(int32_t id) {
  return id <= kEnd;
}

// The first space of a text is dropped, behind control tokens too.
AnswerOptions Options(bool skip_special = true) {
  AnswerOptions options;
  options.skip_special = skip_special;
  options.token_bytes = [](int32_t id) { return kBytes[static_cast<size_t>(id)]; };
  options.is_special = IsSpecial;
  options.decode = [](std::span<const int32_t> ids) {
    std::string out;
    bool at_start = true;
    for (const int32_t id : ids) {
      std::string bytes = kBytes[static_cast<size_t>(id)];
      if (!IsSpecial(id)) {
        if (at_start && bytes[0] == ' ') bytes.erase(0, 1);
        at_start = false;
      }
      out += bytes;
    }
    return out;
  };
  return options;
}

llm::TextToken Token(int32_t id, bool loses_space = false) {
  llm::TextToken token;
  token.token_id = id;
  token.loses_space = loses_space;
  return token;
}

// `first_loses`: the first token of the answer loses its space.
std::vector<int64_t> OfPrompt(const std::vector<int32_t>& ids, const std::string& echo,
                              const std::vector<int32_t>& answer = {}, bool first_loses = false) {
  const AnswerOptions options = Options();
  TextOffsets offsets(options);
  std::vector<int64_t> out;
  for (const int32_t id : ids) out.push_back(offsets.OfPrompt(id, echo));
  offsets.EndPrompt(echo);
  for (size_t i = 0; i < answer.size(); ++i) {
    out.push_back(offsets.OfAnswer(Token(answer[i], first_loses && i == 0)));
  }
  return out;
}

using Offsets = std::vector<int64_t>;

TEST(TextOffsets, FirstWord_HasNoSpace) {
  EXPECT_EQ(OfPrompt({kOnce, kUpon, kDot}, "Once upon."), (Offsets{0, 4, 9}));
  EXPECT_EQ(OfPrompt({kSpace, kOnce, kUpon}, " Once upon"), (Offsets{0, 0, 5}));
  EXPECT_EQ(OfPrompt({kOnce}, "Once", {kUpon, kUpon}), (Offsets{0, 4, 9}));
}

TEST(TextOffsets, ControlTokens_CountWhereTheyAreShown) {
  // A prompt of ids is shown with them, a text without those that were put around it.
  EXPECT_EQ(OfPrompt({kBos, kOnce, kUpon}, "<s>Once upon"), (Offsets{0, 3, 7}));
  EXPECT_EQ(OfPrompt({kBos, kOnce, kUpon, kEnd}, "Once upon"), (Offsets{0, 0, 4, 9}));
  EXPECT_EQ(OfPrompt({kBos, kOnce, kEnd, kUpon}, "Once<e> upon"), (Offsets{0, 0, 4, 7}));
  EXPECT_EQ(OfPrompt({kBos}, "", {kOnce, kUpon}, /*first_loses=*/true), (Offsets{0, 0, 4}));

  for (const bool skip : {true, false}) {
    const AnswerOptions options = Options(skip);
    TextOffsets offsets(options);
    EXPECT_EQ(offsets.OfAnswer(Token(kUpon)), 0);
    EXPECT_EQ(offsets.OfAnswer(Token(kEnd)), 5);
    EXPECT_EQ(offsets.OfAnswer(Token(kDot)), skip ? 5 : 8);
  }
}

TEST(TextOffsets, PartsOfACharacter_BeginWhereItDoes) {
  EXPECT_EQ(OfPrompt({kOnce, kEuro0, kEuro1, kEuro2, kDot}, "Once\xE2\x82\xAC."),
            (Offsets{0, 4, 4, 4, 5}));
  // Begun in the prompt: the answer's text has it.
  EXPECT_EQ(OfPrompt({kOnce, kEuro0}, "Once", {kEuro1, kEuro2, kDot}), (Offsets{0, 4, 4, 4, 5}));
  // What is no UTF-8 is shown as one character.
  EXPECT_EQ(OfPrompt({kOnce, kStray, kEuro0, kDot, kBos}, "Once\xEF\xBF\xBD\xEF\xBF\xBD.<s>"),
            (Offsets{0, 4, 5, 6, 7}));
}

TEST(TextOffsets, BrokenCharacter_CountsBeforeWhatBreaksIt) {
  const std::string broken = "\xEF\xBF\xBD";
  EXPECT_EQ(OfPrompt({kEuro0, kOnce, kUpon}, broken + " Once upon"), (Offsets{0, 1, 6}));
  EXPECT_EQ(OfPrompt({kEuro0, kEuro1, kEuro0, kDot}, broken + broken + "."), (Offsets{0, 0, 1, 2}));
  EXPECT_EQ(OfPrompt({kEuro0, kEnd, kUpon}, broken + "<e> upon"), (Offsets{0, 1, 4}));
  EXPECT_EQ(OfPrompt({}, "", {kEuro0, kEuro0, kEuro1, kEuro2, kDot}), (Offsets{0, 1, 1, 1, 2}));
  // The prompt's has its place, and what goes on with it begins the answer.
  EXPECT_EQ(OfPrompt({kOnce, kEuro0}, "Once" + broken, {kEuro1, kEuro2, kDot}),
            (Offsets{0, 4, 5, 5, 6}));
  EXPECT_EQ(OfPrompt({kOnce, kEuro0}, "Once" + broken, {kUpon, kDot}), (Offsets{0, 4, 6, 11}));
}

TEST(TextOffsets, LongLeadOfControlTokens_IsDecodedOnce) {
  AnswerOptions options = Options();
  int decodings = 0;
  options.decode = [&, decode = options.decode](std::span<const int32_t> ids) {
    ++decodings;
    return decode(ids);
  };
  std::string echo;
  for (int i = 0; i < 1000; ++i) echo += "<s>";
  TextOffsets offsets(options);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(offsets.OfPrompt(kBos, echo + " Once"), 3 * i);
  for (int i = 0; i < 1000; ++i) offsets.OfPrompt(kSpace, echo + " Once");
  EXPECT_LE(decodings, 4);
}

}  // namespace
}  // namespace rill::server::openai
