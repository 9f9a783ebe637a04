#include "text/reference_classes.h"

#include <algorithm>
#include <iterator>

namespace rill::text {
namespace {

struct RuneRange {
  char32_t first;
  char32_t last;
};
struct LowerPair {
  char32_t upper;
  char32_t lower;
};

#include "text/reference_classes.inc"

template <size_t kSize>
bool In(const RuneRange (&ranges)[kSize], char32_t rune) {
  const auto* range =
      std::upper_bound(std::begin(ranges), std::end(ranges), rune,
                       [](char32_t value, const RuneRange& r) { return value < r.first; });
  return range != std::begin(ranges) && rune <= std::prev(range)->last;
}

}  // namespace

bool IsReferencePunctuation(char32_t rune) {
  return In(kPunctuation, rune);
}
bool IsReferenceControl(char32_t rune) {
  return In(kControl, rune) && rune != '\t' && rune != '\n' && rune != '\r';
}
bool IsReferenceNonspacing(char32_t rune) {
  return rune >= 0x300 && In(kNonspacing, rune);
}
bool IsReferenceMark(char32_t rune) {
  return rune >= 0x300 && In(kMark, rune);
}
bool IsNewCompatibilityRune(char32_t rune) {
  // Unicode 15's, which the script that makes the table knows only with a newer Python.
  return In(kNoCompatibility, rune) || (rune >= 0x1E030 && rune <= 0x1E06D);
}
bool HasNoReferenceCombiningClass(char32_t rune) {
  return rune >= 0x300 && In(kNoCombiningClass, rune);
}

char32_t ToLowerRune(char32_t rune) {
  if (rune < 0x80) return rune >= 'A' && rune <= 'Z' ? rune + 32 : rune;
  const auto* pair =
      std::lower_bound(std::begin(kLowerPairs), std::end(kLowerPairs), rune,
                       [](const LowerPair& p, char32_t value) { return p.upper < value; });
  return pair != std::end(kLowerPairs) && pair->upper == rune ? pair->lower : rune;
}

}  // namespace rill::text
