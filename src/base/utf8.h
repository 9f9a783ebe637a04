// UTF-8 by hand: decode one code point, append one, validate, print safely.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "rill/utf8.h"

namespace rill {

struct DecodedRune {
  char32_t rune;  // U+FFFD when not valid
  uint8_t size;   // bytes consumed: >= 1 for non-empty input. When not valid, the length of the
                  // maximal ill-formed prefix (Unicode 15, ch. 3.9, "maximal subpart")
  bool valid;
};

// Decodes the first code point of `text` (not empty). Overlong forms, surrogates and values above
// U+10FFFF are not valid.
DecodedRune DecodeUtf8(std::string_view text);

// Appends `rune` (a scalar value) as 1..4 bytes.
void AppendUtf8(std::string& out, char32_t rune);

bool IsValidUtf8(std::string_view text);

// How many bytes at the end of `text` are the start of a code point that is not complete yet
// (0..3). A stream may be cut there without breaking a character.
size_t IncompleteUtf8Suffix(std::string_view text);

// For error messages and logs: control characters and ill-formed bytes escaped as \xNN, cut after
// `max_bytes` with "…".
std::string PrintableUtf8(std::string_view text, size_t max_bytes = 200);

}  // namespace rill
