#include "text/unicode_category.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace rill::text {
namespace {

struct CategoryRange {
  char32_t first;
  char32_t last;
  Category category;
};

constexpr CategoryRange kRanges[] = {
#include "text/unicode_categories.inc"
};

constexpr char32_t kDirect = 0x32400;  // planes 0 to 3 up to the last assigned ideograph
constexpr uint8_t kSpaceFlag = 0x80;

constexpr bool IsSpaceRune(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

const std::array<uint8_t, kDirect>& DirectTable() {
  static const auto* table = [] {
    auto* t = new std::array<uint8_t, kDirect>();
    for (const CategoryRange& range : kRanges) {
      if (range.first >= kDirect) break;
      std::fill(t->begin() + range.first, t->begin() + std::min<char32_t>(range.last + 1, kDirect),
                range.category);
    }
    for (char32_t c = 0; c <= 0x3000; ++c) {
      if (IsSpaceRune(c)) (*t)[c] |= kSpaceFlag;
    }
    return t;
  }();
  return *table;
}

}  // namespace

uint32_t CategoryMask(char32_t rune) {
  static const std::array<uint8_t, kDirect>& table = DirectTable();
  if (rune < kDirect) {
    const uint8_t value = table[rune];
    return (1u << (value & 0x1F)) | (static_cast<uint32_t>(value & kSpaceFlag) << 24);
  }
  const auto* range =
      std::upper_bound(std::begin(kRanges), std::end(kRanges), rune,
                       [](char32_t value, const CategoryRange& r) { return value < r.first; });
  if (range == std::begin(kRanges)) return CategoryBit(kCn);
  --range;
  return CategoryBit(rune <= range->last ? range->category : kCn);
}

bool IsAlphabeticSymbol(char32_t rune) {
  return (rune >= 0x24B6 && rune <= 0x24E9) || (rune >= 0x1F130 && rune <= 0x1F149) ||
         (rune >= 0x1F150 && rune <= 0x1F169) || (rune >= 0x1F170 && rune <= 0x1F189);
}

bool IsWordRune(char32_t rune) {
  constexpr char32_t kNonJoiner = 0x200C;
  constexpr char32_t kJoiner = 0x200D;
  const uint32_t mask = CategoryMask(rune);
  if (mask & kMaskWord) return true;
  return rune == kNonJoiner || rune == kJoiner || IsAlphabeticSymbol(rune);
}

}  // namespace rill::text
