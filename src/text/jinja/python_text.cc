#include "text/jinja/python_text.h"

#include <utf8proc.h>

#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>

#include "base/utf8.h"

namespace rill::text::jinja {
namespace {

utf8proc_category_t Category(char32_t rune) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(rune));
}

struct SpecialCase {
  char32_t rune;
  const char32_t* text;
};

// Characters whose full upper case is several characters (Unicode SpecialCasing.txt).
constexpr SpecialCase kSpecialUpper[] = {
#include "text/jinja/special_upper.inc"
};

const char32_t* FindSpecialUpper(char32_t rune) {
  if (rune < 0xDF) return nullptr;
  for (const SpecialCase& entry : kSpecialUpper) {
    if (entry.rune == rune) return entry.text;
  }
  return nullptr;
}

}  // namespace

bool IsPythonSpace(char32_t rune) {
  return (rune >= 9 && rune <= 13) || (rune >= 0x1C && rune <= 0x20) || rune == 0x85 ||
         rune == 0xA0 || rune == 0x1680 || (rune >= 0x2000 && rune <= 0x200A) || rune == 0x2028 ||
         rune == 0x2029 || rune == 0x202F || rune == 0x205F || rune == 0x3000;
}

bool IsLineBreak(char32_t rune) {
  return (rune >= 10 && rune <= 13) || (rune >= 0x1C && rune <= 0x1E) || rune == 0x85 ||
         rune == 0x2028 || rune == 0x2029;
}

bool IsAlpha(char32_t rune) {
  if (rune < 0x80) return (rune | 0x20) >= 'a' && (rune | 0x20) <= 'z';
  const utf8proc_category_t c = Category(rune);
  return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}
bool IsDecimal(char32_t rune) {
  if (rune < 0x80) return rune >= '0' && rune <= '9';
  return Category(rune) == UTF8PROC_CATEGORY_ND;
}
bool IsDigit(char32_t rune) {
  if (IsDecimal(rune)) return true;
  return rune == 0xB2 || rune == 0xB3 || rune == 0xB9 || rune == 0x2070 ||
         (rune >= 0x2074 && rune <= 0x2079) || (rune >= 0x2080 && rune <= 0x2089) ||
         (rune >= 0x2460 && rune <= 0x2468) || (rune >= 0x2474 && rune <= 0x247C) ||
         (rune >= 0x2488 && rune <= 0x2490) || rune == 0x24EA ||
         (rune >= 0x24F5 && rune <= 0x24FD) || rune == 0x24FF ||
         (rune >= 0x2776 && rune <= 0x277E) || (rune >= 0x2780 && rune <= 0x2788) ||
         (rune >= 0x278A && rune <= 0x2792);
}
bool IsNumeric(char32_t rune) {
  if (rune < 0x80) return rune >= '0' && rune <= '9';
  const utf8proc_category_t c = Category(rune);
  return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}
bool IsAlnum(char32_t rune) {
  return IsAlpha(rune) || IsNumeric(rune);
}
bool IsPrintable(char32_t rune) {
  if (rune < 0x7F) return rune >= 0x20;
  switch (Category(rune)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS: return false;
    default: return true;
  }
}
bool IsUpper(char32_t rune) {
  if (rune < 0x80) return rune >= 'A' && rune <= 'Z';
  return utf8proc_isupper(static_cast<utf8proc_int32_t>(rune)) != 0;
}
bool IsLower(char32_t rune) {
  if (rune < 0x80) return rune >= 'a' && rune <= 'z';
  return utf8proc_islower(static_cast<utf8proc_int32_t>(rune)) != 0;
}
bool IsTitle(char32_t rune) {
  return rune >= 0x80 && Category(rune) == UTF8PROC_CATEGORY_LT;
}
bool IsCased(char32_t rune) {
  return IsUpper(rune) || IsLower(rune) || IsTitle(rune);
}
bool IsCaseIgnorable(char32_t rune) {
  if (rune == '\'' || rune == '.' || rune == ':' || rune == '^' || rune == '`' || rune == 0xA8 ||
      rune == 0xAD || rune == 0xAF || rune == 0xB4 || rune == 0xB7 || rune == 0xB8 ||
      rune == 0x2018 || rune == 0x2019 || rune == 0x2024 || rune == 0x2027) {
    return true;
  }
  if (rune < 0x80) return false;
  switch (Category(rune)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK: return true;
    default: return false;
  }
}
bool IsIdentifierStart(char32_t rune) {
  if (rune < 0x80) return rune == '_' || IsAlpha(rune);
  return IsAlpha(rune) || Category(rune) == UTF8PROC_CATEGORY_NL;
}
bool IsIdentifierPart(char32_t rune) {
  if (rune < 0x80) return rune == '_' || IsAlpha(rune) || (rune >= '0' && rune <= '9');
  switch (Category(rune)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_PC: return true;
    default: return IsIdentifierStart(rune);
  }
}

void AppendUpper(std::string& out, char32_t rune) {
  if (const char32_t* special = FindSpecialUpper(rune)) {
    for (; *special != 0; ++special) AppendUtf8(out, *special);
    return;
  }
  AppendUtf8(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(rune))));
}

void AppendLower(std::string& out, char32_t rune) {
  if (rune == 0x130) {  // the only character whose lower case is two characters
    AppendUtf8(out, 'i');
    AppendUtf8(out, 0x307);
    return;
  }
  AppendUtf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(rune))));
}

void AppendTitle(std::string& out, char32_t rune) {
  // Title case of "ß" and the ligatures: the first of the upper-case characters stays, the rest
  // are lowered. Greek with iota subscript has a title character of its own.
  const auto title = static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(rune)));
  const char32_t* special = FindSpecialUpper(rune);
  if (special == nullptr || IsTitle(title)) {
    AppendUtf8(out, title);
    return;
  }
  AppendUtf8(out, *special++);
  if (rune == 0x149) {  // the apostrophe has no case: the letter after it is the capital
    AppendUtf8(out, *special);
    return;
  }
  for (; *special != 0; ++special) {
    // U+0399 GREEK CAPITAL IOTA came from the subscript U+0345.
    if (*special == 0x399 && rune >= 0x1FB0) {
      AppendUtf8(out, 0x345);
    } else {
      AppendLower(out, *special);
    }
  }
}

void AppendFolded(std::string& out, char32_t rune) {
  if (rune == 0xDF || rune == 0x1E9E) {
    out += "ss";
    return;
  }
  AppendLower(out, rune);
}

int64_t CountRunes(std::string_view text) {
  int64_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

void AppendStringRepr(std::string& out, std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  out += quote;
  while (!text.empty()) {
    const DecodedRune rune = DecodeUtf8(text);
    const char32_t c = rune.rune;
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (IsPrintable(c)) {
      out += text.substr(0, rune.size);
    } else {
      char buffer[16];
      const auto value = static_cast<unsigned>(c);
      std::snprintf(buffer, sizeof buffer,
                    value < 0x100     ? "\\x%02x"
                    : value < 0x10000 ? "\\u%04x"
                                      : "\\U%08x",
                    value);
      out += buffer;
    }
    text.remove_prefix(rune.size);
  }
  out += quote;
}

std::string FloatRepr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[40];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  std::string_view text(buffer, static_cast<size_t>(end - buffer));
  const bool negative = text.front() == '-';
  if (negative) text.remove_prefix(1);
  const size_t e = text.find('e');
  std::string digits(text.substr(0, 1));
  if (e > 2) digits += text.substr(2, e - 2);
  int exponent = 0;
  const char* exponent_begin = text.data() + e + 1;
  if (*exponent_begin == '+') ++exponent_begin;
  std::from_chars(exponent_begin, text.data() + text.size(), exponent);
  std::string out = negative ? "-" : "";
  const int count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (count > 1) out += "." + digits.substr(1);
    char tail[16];
    std::snprintf(tail, sizeof tail, "e%c%02d", exponent < 0 ? '-' : '+', std::abs(exponent));
    return out + tail;
  }
  if (exponent < 0)
    return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  if (count <= exponent + 1) {
    return out + digits + std::string(static_cast<size_t>(exponent + 1 - count), '0') + ".0";
  }
  const auto point = static_cast<size_t>(exponent + 1);
  return out + digits.substr(0, point) + "." + digits.substr(point);
}

namespace {

// Blanks around removed, decimal digits of any script as ASCII, "_" between digits removed.
// False when an underscore is misplaced or a character is not ASCII then.
bool NormaliseNumber(std::string_view text, std::string* out) {
  std::u32string runes;
  for (std::string_view rest = text; !rest.empty();) {
    const DecodedRune rune = DecodeUtf8(rest);
    runes += rune.rune;
    rest.remove_prefix(rune.size);
  }
  size_t begin = 0, end = runes.size();
  while (begin < end && IsPythonSpace(runes[begin])) ++begin;
  while (end > begin && IsPythonSpace(runes[end - 1])) --end;
  for (size_t i = begin; i < end; ++i) {
    char32_t rune = runes[i];
    if (rune >= 0x80 && IsDecimal(rune)) {
      // Decimal digits of a script are ten in a row that start at a multiple of ten from one
      // whose predecessor is not a digit.
      char32_t zero = rune;
      while (rune - zero < 9 && IsDecimal(zero - 1)) --zero;
      rune = '0' + (rune - zero) % 10;
    }
    if (rune >= 0x80) return false;
    if (rune == '_') {
      const bool between =
          i > begin && i + 1 < end && IsAlnum(runes[i - 1]) && IsAlnum(runes[i + 1]);
      if (!between) return false;
      continue;
    }
    *out += static_cast<char>(rune);
  }
  return !out->empty();
}

}  // namespace

bool ParsePythonInt(std::string_view text, int base, int64_t* value, bool* overflow) {
  std::string digits;
  *overflow = false;
  if (!NormaliseNumber(text, &digits)) return false;
  std::string_view rest = digits;
  bool negative = false;
  if (rest.front() == '+' || rest.front() == '-') {
    negative = rest.front() == '-';
    rest.remove_prefix(1);
  }
  if (rest.size() > 2 && rest[0] == '0') {
    const char mark = static_cast<char>(rest[1] | 0x20);
    const int marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    if (marked != 0 && (base == marked || base == 0)) {
      base = marked;
      rest.remove_prefix(2);
    }
  }
  if (base == 0) {
    if (rest.size() > 1 && rest[0] == '0' && rest.find_first_not_of('0') != rest.npos) return false;
    base = 10;
  }
  if (base < 2 || base > 36 || rest.empty()) return false;
  int64_t result = 0;
  for (const char c : rest) {
    const char low = static_cast<char>(c | 0x20);
    const int digit = c >= '0' && c <= '9'       ? c - '0'
                      : low >= 'a' && low <= 'z' ? low - 'a' + 10
                                                 : 99;
    if (digit >= base) return false;
    if (__builtin_mul_overflow(result, static_cast<int64_t>(base), &result) ||
        __builtin_sub_overflow(result, static_cast<int64_t>(digit), &result)) {
      *overflow = true;  // go on: a later character may not be a digit at all
      result = 0;
    }
  }
  if (!negative && result == INT64_MIN) *overflow = true;
  if (*overflow) return true;
  *value = negative ? result : -result;
  return true;
}

bool ParsePythonFloat(std::string_view text, double* value) {
  std::string digits;
  if (!NormaliseNumber(text, &digits)) return false;
  std::string_view rest = digits;
  bool negative = false;
  if (rest.front() == '+' || rest.front() == '-') {
    negative = rest.front() == '-';
    rest.remove_prefix(1);
  }
  std::string lower;
  for (const char c : rest) lower += static_cast<char>(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
  double result = 0;
  if (lower == "inf" || lower == "infinity") {
    result = HUGE_VAL;
  } else if (lower == "nan") {
    result = std::nan("");
  } else {
    if (lower.empty() || !((lower[0] >= '0' && lower[0] <= '9') || lower[0] == '.')) return false;
    const auto parsed = std::from_chars(lower.data(), lower.data() + lower.size(), result);
    if (parsed.ptr != lower.data() + lower.size()) return false;
    if (parsed.ec == std::errc::result_out_of_range) {
      // Too large is inf, too small is 0: the sign of the exponent tells.
      const size_t e = lower.find('e');
      result = e != std::string::npos && lower[e + 1] == '-' ? 0.0 : HUGE_VAL;
    } else if (parsed.ec != std::errc()) {
      return false;
    }
  }
  *value = negative ? -result : result;
  return true;
}

}  // namespace rill::text::jinja
