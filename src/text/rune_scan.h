// Fast reading of code points out of text that is known to be valid UTF-8.
#pragma once

#include <cstddef>
#include <string_view>

#include "text/unicode_category.h"

namespace rill::text {

struct ScannedRune {
  char32_t rune;
  size_t size;
};

// `pos` < text.size(), at a character border of valid UTF-8.
inline ScannedRune ScanRune(std::string_view text, size_t pos) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[pos + i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {static_cast<char32_t>(((lead & 0x1Fu) << 6) | (byte(1) & 0x3Fu)), 2};
  if (lead < 0xF0) {
    return {static_cast<char32_t>(((lead & 0x0Fu) << 12) | ((byte(1) & 0x3Fu) << 6) |
                                  (byte(2) & 0x3Fu)),
            3};
  }
  return {static_cast<char32_t>(((lead & 0x07u) << 18) | ((byte(1) & 0x3Fu) << 12) |
                                ((byte(2) & 0x3Fu) << 6) | (byte(3) & 0x3Fu)),
          4};
}

// Start of the character before `pos` (> 0).
inline size_t PreviousRune(std::string_view text, size_t pos) {
  do {
    --pos;
  } while (pos > 0 && (static_cast<unsigned char>(text[pos]) & 0xC0) == 0x80);
  return pos;
}

}  // namespace rill::text
