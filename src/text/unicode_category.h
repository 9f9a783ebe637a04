// Unicode general categories, by table (Unicode 16), for pre-tokenizers and normalizers.
//
// The table agrees with the regular expression engine of the reference tokenizers; utf8proc's and
// PCRE2's own tables are older, and a letter that one side does not know splits a text differently.
#pragma once

#include <cstdint>

namespace rill::text {

enum Category : uint8_t {
  kCn,
  kLu,
  kLl,
  kLt,
  kLm,
  kLo,
  kMn,
  kMc,
  kMe,
  kNd,
  kNl,
  kNo,
  kPc,
  kPd,
  kPs,
  kPe,
  kPi,
  kPf,
  kPo,
  kSm,
  kSc,
  kSk,
  kSo,
  kZs,
  kZl,
  kZp,
  kCc,
  kCf,
  kCo,
};

constexpr uint32_t CategoryBit(Category c) {
  return 1u << c;
}
inline constexpr uint32_t kMaskL =
    CategoryBit(kLu) | CategoryBit(kLl) | CategoryBit(kLt) | CategoryBit(kLm) | CategoryBit(kLo);
inline constexpr uint32_t kMaskM = CategoryBit(kMn) | CategoryBit(kMc) | CategoryBit(kMe);
inline constexpr uint32_t kMaskN = CategoryBit(kNd) | CategoryBit(kNl) | CategoryBit(kNo);
inline constexpr uint32_t kMaskP = CategoryBit(kPc) | CategoryBit(kPd) | CategoryBit(kPs) |
                                   CategoryBit(kPe) | CategoryBit(kPi) | CategoryBit(kPf) |
                                   CategoryBit(kPo);
inline constexpr uint32_t kMaskS =
    CategoryBit(kSm) | CategoryBit(kSc) | CategoryBit(kSk) | CategoryBit(kSo);
inline constexpr uint32_t kMaskZ = CategoryBit(kZs) | CategoryBit(kZl) | CategoryBit(kZp);
inline constexpr uint32_t kMaskC =
    CategoryBit(kCn) | CategoryBit(kCc) | CategoryBit(kCf) | CategoryBit(kCo);
// The White_Space property, which is what \s means in Unicode regular expressions.
inline constexpr uint32_t kMaskSpace = 1u << 31;

// The bit of the code point's general category, and kMaskSpace when it is white space.
uint32_t CategoryMask(char32_t rune);

inline bool IsWhiteSpace(char32_t rune) {
  return (CategoryMask(rune) & kMaskSpace) != 0;
}
// \w of tokenizer.json's patterns in brackets is kMaskWord and the symbols that are Alphabetic:
// letters in circles and squares.
inline constexpr uint32_t kMaskWord =
    kMaskL | kMaskM | CategoryBit(kNd) | CategoryBit(kNl) | CategoryBit(kPc);
bool IsAlphabeticSymbol(char32_t rune);
// \w of the engine that runs the Whitespace pre-tokenizer and single_word: the same and the two
// zero-width joiners (U+200C, U+200D).
bool IsWordRune(char32_t rune);

}  // namespace rill::text
