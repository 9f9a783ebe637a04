#include "text/added_tokens.h"

#include <algorithm>

#include "base/utf8.h"
#include "text/rune_scan.h"
#include "text/unicode_category.h"

namespace rill::text {

bool LooksLikeControl(std::string_view text) {
  constexpr std::string_view kFullWidthBar = "\xEF\xBD\x9C";
  if (text.size() < 5 || !text.starts_with('<') || !text.ends_with('>')) return false;
  const std::string_view inside = text.substr(1, text.size() - 2);
  return (inside.starts_with('|') && inside.ends_with('|')) ||
         (inside.size() > 2 * kFullWidthBar.size() && inside.starts_with(kFullWidthBar) &&
          inside.ends_with(kFullWidthBar));
}

Status AddedTokenMatcher::Add(const AddedToken& token, std::string_view pattern) {
  if (pattern.empty()) return OkStatus();
  if (pattern.size() > kMaxTokenBytes) {
    return ResourceExhausted("added token " + std::to_string(token.id) + " has " +
                             std::to_string(pattern.size()) + " bytes, limit " +
                             std::to_string(kMaxTokenBytes));
  }
  int32_t node = 0;
  for (size_t i = 0; i < pattern.size() && node >= 0; ++i) {
    node = trie_.Step(node, static_cast<unsigned char>(pattern[i]));
  }
  // Of tokens that a normalizer makes equal, the first is found.
  if (node > 0 && trie_.id(node) >= 0) return OkStatus();
  trie_.Insert(pattern, static_cast<int32_t>(tokens_.size()));
  tokens_.push_back(token);
  return OkStatus();
}

bool AddedTokenMatcher::StandsAlone(std::string_view text, size_t begin, size_t end) {
  if (begin > 0 && IsWordRune(ScanRune(text, PreviousRune(text, begin)).rune)) return false;
  return end >= text.size() || !IsWordRune(ScanRune(text, end).rune);
}

TokenMatch AddedTokenMatcher::Strip(const AddedToken& token, std::string_view text, size_t done,
                                    size_t begin, size_t end) {
  if (token.lstrip) {
    while (begin > done) {
      const size_t before = PreviousRune(text, begin);
      if (!IsWhiteSpace(ScanRune(text, before).rune)) break;
      begin = before;
    }
  }
  return {begin, end, token.id};
}

size_t AddedTokenMatcher::SpaceEnd(std::string_view text, size_t pos) {
  while (pos < text.size()) {
    const ScannedRune r = ScanRune(text, pos);
    if (!IsWhiteSpace(r.rune)) break;
    pos += r.size;
  }
  return pos;
}

}  // namespace rill::text
