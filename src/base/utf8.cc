#include "base/utf8.h"

namespace rill {

DecodedRune DecodeUtf8(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  // Second-byte ranges of Unicode 15 table 3-7 exclude overlongs and surrogates.
  int length = 0;
  unsigned char low = 0x80, high = 0xBF;
  char32_t rune = 0;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
    rune = lead & 0x1Fu;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    rune = lead & 0x0Fu;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    rune = lead & 0x07u;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return {0xFFFD, 1, false};
  }
  for (int i = 1; i < length; ++i) {
    if (static_cast<size_t>(i) >= text.size() || byte(i) < low || byte(i) > high) {
      return {0xFFFD, static_cast<uint8_t>(i), false};
    }
    rune = (rune << 6) | (byte(i) & 0x3Fu);
    low = 0x80;
    high = 0xBF;
  }
  return {rune, static_cast<uint8_t>(length), true};
}

void AppendUtf8(std::string& out, char32_t rune) {
  if (rune < 0x80) {
    out += static_cast<char>(rune);
  } else if (rune < 0x800) {
    out += static_cast<char>(0xC0 | (rune >> 6));
    out += static_cast<char>(0x80 | (rune & 0x3F));
  } else if (rune < 0x10000) {
    out += static_cast<char>(0xE0 | (rune >> 12));
    out += static_cast<char>(0x80 | ((rune >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (rune & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (rune >> 18));
    out += static_cast<char>(0x80 | ((rune >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((rune >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (rune & 0x3F));
  }
}

std::optional<size_t> FindInvalidUtf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const DecodedRune rune = DecodeUtf8(text.substr(at));
    if (!rune.valid) return at;
    at += rune.size;
  }
  return std::nullopt;
}

bool IsValidUtf8(std::string_view text) {
  return !FindInvalidUtf8(text);
}

size_t IncompleteUtf8Suffix(std::string_view text) {
  const size_t size = text.size();
  for (size_t back = 1; back <= 3 && back <= size; ++back) {
    const auto c = static_cast<unsigned char>(text[size - back]);
    if ((c & 0xC0) == 0x80) continue;  // continuation byte: look further back
    if (c < 0xC2 || c > 0xF4) return 0;
    const size_t length = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
    if (back >= length) return 0;
    // Every byte so far must be able to go on to a valid character.
    const DecodedRune rune = DecodeUtf8(text.substr(size - back));
    return rune.size == back ? back : 0;
  }
  return 0;
}

std::string PrintableUtf8(std::string_view text, size_t max_bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  while (!text.empty()) {
    if (out.size() >= max_bytes) {
      out += "…";
      break;
    }
    const DecodedRune rune = DecodeUtf8(text);
    const bool control = rune.rune < 0x20 || (rune.rune >= 0x7F && rune.rune < 0xA0);
    if (rune.valid && !control) {
      out.append(text.substr(0, rune.size));
    } else {
      for (size_t i = 0; i < rune.size; ++i) {
        const auto c = static_cast<unsigned char>(text[i]);
        out += "\\x";
        out += kHex[c >> 4];
        out += kHex[c & 15];
      }
    }
    text.remove_prefix(rune.size);
  }
  return out;
}

}  // namespace rill
