#include "base/utf8.h"

#include <gtest/gtest.h>

namespace rill {
namespace {

TEST(Utf8, DecodeThenAppend_EveryScalarValue_RoundTrips) {
  for (char32_t rune = 0; rune <= 0x10FFFF; ++rune) {
    if (rune >= 0xD800 && rune <= 0xDFFF) continue;
    std::string text;
    AppendUtf8(text, rune);
    const DecodedRune decoded = DecodeUtf8(text);
    ASSERT_TRUE(decoded.valid) << static_cast<uint32_t>(rune);
    ASSERT_EQ(decoded.rune, rune);
    ASSERT_EQ(decoded.size, text.size());
    for (size_t cut = 1; cut < text.size(); ++cut) {
      ASSERT_EQ(IncompleteUtf8Suffix("ab" + text.substr(0, cut)), cut);
    }
    ASSERT_EQ(IncompleteUtf8Suffix(text), 0u);
  }
}

TEST(Utf8, IllFormed_IsRejectedAtTheMaximalSubpart) {
  // Unicode 15, table 3-8: 61 F1 80 80 E1 80 C2 62 80 63 80 BF 64.
  const std::string text = "\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64";
  std::string sizes;
  for (size_t i = 0; i < text.size();) {
    const DecodedRune rune = DecodeUtf8(std::string_view(text).substr(i));
    sizes += static_cast<char>('0' + rune.size);
    i += rune.size;
  }
  EXPECT_EQ(sizes, "1321111111");
  EXPECT_FALSE(IsValidUtf8("\xED\xA0\x80"));      // surrogate
  EXPECT_FALSE(IsValidUtf8("\xC0\xAF"));          // overlong
  EXPECT_FALSE(IsValidUtf8("\xF4\x90\x80\x80"));  // above U+10FFFF
}

TEST(Utf8, Printable_EscapesControlAndIllFormedBytes) {
  EXPECT_EQ(PrintableUtf8("a\x1b[0m\xFFé"), "a\\x1b[0m\\xffé");
  EXPECT_EQ(PrintableUtf8("abcdef", 3), "abc…");
}

}  // namespace
}  // namespace rill
