// Patterns of tokenizer.json on PCRE2: sets inside sets, and what a hostile file may hold. Which
// characters each class takes is compared with the reference engine in tests/oracle.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "text/pattern_matcher.h"

namespace rill::text {
namespace {

std::vector<std::string> Matches(std::string_view regex, std::string_view text) {
  const auto matcher = internal::Pcre2Pattern(regex);
  if (!matcher.ok()) return {"error: " + matcher.status().message()};
  std::vector<std::string> out;
  size_t begin = 0;
  size_t end = 0;
  for (size_t from = 0; from < text.size() && (*matcher)->Find(text, from, begin, end);
       from = end) {
    if (begin == end) break;
    out.emplace_back(text.substr(begin, end - begin));
  }
  return out;
}

using Strings = std::vector<std::string>;

TEST(PatternTranslate, SetsOfSets) {
  EXPECT_EQ(Matches("[a[c-e]]+", "abcdefa"), (Strings{"a", "cde", "a"}));
  EXPECT_EQ(Matches("[a-f&&[^ce]]+", "abcdefg"), (Strings{"ab", "d", "f"}));
  EXPECT_EQ(Matches("[^a-f&&[^ce]]+", "abcdefg"), (Strings{"c", "e", "g"}));
  EXPECT_EQ(Matches("[^a[^a-f]]+", "abcdefg"), (Strings{"bcdef"}));
  EXPECT_EQ(Matches("[^\\W\\d_]+", "a1b_c-d"), (Strings{"a", "b", "c", "d"}));
  EXPECT_EQ(Matches("[\\W\\d]+", "ab1-c"), (Strings{"1-"}));
  EXPECT_EQ(Matches("[a-c-e]+", "ab-de"), (Strings{"ab-", "e"}));
  EXPECT_EQ(Matches("[]^-]+", "a]^-b"), (Strings{"]^-"}));
}

TEST(PatternTranslate, ScriptIsNotItsExtensions) {
  EXPECT_EQ(Matches("\\p{Han}+", "中文。中"), (Strings{"中文", "中"}));
  EXPECT_EQ(Matches("[^\\p{Han}]+", "中文。中"), (Strings{"。"}));
  EXPECT_EQ(Matches("\\P{^Han}+", "中文。中"), (Strings{"中文", "中"}));
}

TEST(PatternTranslate, PlusBehindAnIntervalRepeats) {
  EXPECT_EQ(Matches("[0-9]{1,3}+", "a12345b"), (Strings{"12345"}));
  EXPECT_EQ(Matches("(?:x|y){2}+", "xyxyx"), (Strings{"xyxy"}));
  EXPECT_EQ(Matches("a{,2}b", "aaab"), (Strings{"aab"}));
}

TEST(PatternTranslate, BadPatternsAreErrors) {
  for (const char* regex :
       {"[a", "[a[b]", "[[:magic:]]", "\\p{Magic}", "\\p{L", "\\p{sc:Han}", "[\\p{}]", "\\u12",
        "[\\u12]", "[a-\\d]", "[\\x{41]", "[b-a]", "\\xE3\\x81\\x82", "[\\xE3]"}) {
    EXPECT_FALSE(internal::Pcre2Pattern(regex).ok()) << regex;
  }
  std::string nested;
  for (int i = 0; i < 10'000; ++i) nested += "[^a";
  nested += std::string(10'000, ']');
  const auto deep = internal::Pcre2Pattern(nested);
  ASSERT_FALSE(deep.ok());
  EXPECT_NE(deep.status().message().find("32 deep"), std::string::npos);
  // Long operands and many of them: an error or a matcher, never more than linear output.
  std::string many = "[a";
  for (int i = 0; i < 8'000; ++i) many += "&&[^b]";
  many += "]";
  const auto wide = internal::Pcre2Pattern(many);
  if (wide.ok()) {
    EXPECT_EQ(Matches(many, "ba"), Strings{"a"});
  }
}

}  // namespace
}  // namespace rill::text
