#include "text/jinja/lexer.h"

#include <algorithm>
#include <utility>

#include "base/utf8.h"
#include "text/jinja/python_text.h"

namespace rill::text::jinja {
namespace {

bool IsDigitByte(char c) {
  return c >= '0' && c <= '9';
}

// A whole number in `base` that fits 64 bits.
bool ParseDigits(std::string_view digits, int base, int64_t* out) {
  int64_t value = 0;
  for (const char c : digits) {
    if (c == '_') continue;
    const int digit = IsDigitByte(c) ? c - '0' : (c | 0x20) - 'a' + 10;
    if (__builtin_mul_overflow(value, static_cast<int64_t>(base), &value) ||
        __builtin_add_overflow(value, static_cast<int64_t>(digit), &value)) {
      return false;
    }
  }
  *out = value;
  return true;
}

class Lexer {
 public:
  Lexer(std::string_view source, std::string_view culprit) : culprit_(culprit) {
    source_.reserve(source.size());
    for (size_t i = 0; i < source.size(); ++i) {
      if (source[i] != '\r') {
        source_ += source[i];
      } else {
        source_ += '\n';
        if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
      }
    }
    if (source_.ends_with('\n')) source_.pop_back();
  }

  Result<std::vector<Token>> Run() {
    while (at_ < source_.size()) RILL_RETURN_IF_ERROR(ReadRoot());
    Emit(TokenType::kEnd, "");
    return std::move(tokens_);
  }

 private:
  Status Error(std::string message) const {
    return InvalidArgument(culprit_ + ":" + std::to_string(line_) + ": " + std::move(message));
  }
  Token& Emit(TokenType type, std::string text) {
    tokens_.push_back({type, line_, std::move(text), 0, 0});
    return tokens_.back();
  }
  bool At(std::string_view text, size_t position) const {
    return std::string_view(source_).substr(std::min(position, source_.size())).starts_with(text);
  }
  // Moves to `end` and counts the lines passed.
  void MoveTo(size_t end) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<ptrdiff_t>(at_),
                                         source_.begin() + static_cast<ptrdiff_t>(end), '\n'));
    if (end > at_) line_starting_ = source_[end - 1] == '\n';
    at_ = end;
  }
  size_t SkipSpace(size_t position) const {
    while (position < source_.size()) {
      const DecodedRune rune = DecodeUtf8(std::string_view(source_).substr(position));
      if (!IsPythonSpace(rune.rune)) break;
      position += rune.size;
    }
    return position;
  }
  // Where the whitespace that ends at `end` starts, not before `begin`.
  size_t SkipSpaceBack(size_t begin, size_t end) const {
    while (end > begin) {
      size_t start = end - 1;
      while (start > begin && (static_cast<unsigned char>(source_[start]) & 0xC0) == 0x80) --start;
      if (!IsPythonSpace(DecodeUtf8(std::string_view(source_).substr(start, end - start)).rune)) {
        break;
      }
      end = start;
    }
    return end;
  }

  // Data up to the next tag, then the tag.
  Status ReadRoot() {
    size_t tag = at_;
    while (true) {
      tag = source_.find('{', tag);
      if (tag == std::string::npos || tag + 1 >= source_.size()) {
        tag = std::string::npos;
        break;
      }
      const char kind = source_[tag + 1];
      if (kind == '%' || kind == '{' || kind == '#') break;
      ++tag;
    }
    if (tag == std::string::npos) {
      Emit(TokenType::kData, source_.substr(at_));
      MoveTo(source_.size());
      return OkStatus();
    }
    const char kind = source_[tag + 1];
    size_t inside = tag + 2;
    char sign = 0;
    if (inside < source_.size() && (source_[inside] == '-' || source_[inside] == '+')) {
      sign = source_[inside++];
    }
    EmitData(tag, sign, kind == '{');
    MoveTo(tag);
    line_starting_ = false;
    if (kind == '#') return ReadComment(inside);
    if (kind == '{') return ReadTag(inside, TokenType::kVariableBegin, TokenType::kVariableEnd);
    size_t word = SkipSpace(inside);
    if (At("raw", word)) {
      const size_t after = SkipSpace(word + 3);
      if (At("-%}", after)) return ReadRaw(SkipSpace(after + 3));
      if (At("%}", after)) return ReadRaw(after + 2);
    }
    return ReadTag(inside, TokenType::kBlockBegin, TokenType::kBlockEnd);
  }

  // The text before a tag at `tag`, stripped as the tag's sign and lstrip_blocks say.
  void EmitData(size_t tag, char sign, bool is_variable) {
    size_t end = tag;
    if (sign == '-') {
      end = SkipSpaceBack(at_, tag);
    } else if (sign != '+' && !is_variable) {
      // Only the data is looked at: a search to the start of the source at each tag is quadratic.
      const size_t newline = std::string_view(source_).substr(at_, tag - at_).rfind('\n');
      const bool has_newline = newline != std::string::npos;
      if (has_newline || line_starting_) {
        const size_t line_begin = has_newline ? at_ + newline + 1 : at_;
        if (SkipSpaceBack(line_begin, tag) == line_begin) end = line_begin;
      }
    }
    if (end > at_) Emit(TokenType::kData, source_.substr(at_, end - at_));
  }

  // End of a closing "%}" or "#}" at `position` with its sign and trimming, or npos.
  size_t CloseAt(size_t position, std::string_view close) const {
    if (At("-", position) && At(close, position + 1)) return SkipSpace(position + 3);
    if (At("+", position) && At(close, position + 1)) return position + 3;
    if (!At(close, position)) return std::string::npos;
    return position + (At("\n", position + 2) ? 3 : 2);
  }

  Status ReadComment(size_t inside) {
    for (size_t i = inside; i < source_.size(); ++i) {
      i = source_.find_first_of("#+-", i);
      if (i == std::string::npos) break;
      const size_t end = CloseAt(i, "#}");
      if (end != std::string::npos) {
        MoveTo(end);
        return OkStatus();
      }
    }
    return Error("expected '#}' to end this comment, got end of template");
  }

  Status ReadRaw(size_t inside) {
    MoveTo(inside);
    for (size_t i = inside; (i = source_.find("{%", i)) != std::string::npos; ++i) {
      size_t word = i + 2;
      const char sign = word < source_.size() ? source_[word] : '\0';
      if (sign == '-' || sign == '+') ++word;
      word = SkipSpace(word);
      if (!At("endraw", word)) continue;
      const size_t end = CloseAt(SkipSpace(word + 6), "%}");
      if (end == std::string::npos) continue;
      EmitData(i, sign, false);
      MoveTo(end);
      return OkStatus();
    }
    return Error("expected {% endraw %}, got end of template");
  }

  Status ReadTag(size_t inside, TokenType begin, TokenType end_type) {
    Emit(begin, "");
    MoveTo(inside);
    std::string open;  // brackets not closed yet
    while (at_ < source_.size()) {
      if (open.empty()) {
        size_t end = std::string::npos;
        if (end_type == TokenType::kBlockEnd) {
          end = CloseAt(at_, "%}");
        } else if (At("-}}", at_)) {
          end = SkipSpace(at_ + 3);
        } else if (At("}}", at_)) {
          end = at_ + 2;
        }
        if (end != std::string::npos) {
          Emit(end_type, "");
          MoveTo(end);
          return OkStatus();
        }
      }
      const size_t after_space = SkipSpace(at_);
      if (after_space > at_) {
        MoveTo(after_space);
        continue;
      }
      const char c = source_[at_];
      if (IsDigitByte(c)) {
        RILL_RETURN_IF_ERROR(ReadNumber());
      } else if (c == '\'' || c == '"') {
        RILL_RETURN_IF_ERROR(ReadString(c));
      } else if (IsIdentifierPart(DecodeUtf8(std::string_view(source_).substr(at_)).rune)) {
        RILL_RETURN_IF_ERROR(ReadName());
      } else {
        RILL_RETURN_IF_ERROR(ReadOperator(open));
      }
    }
    return Error(std::string("expected '") + (end_type == TokenType::kBlockEnd ? "%}" : "}}") +
                 "', got end of template");
  }

  // digits with single underscores between them, from `position`; its end, or position itself.
  size_t DigitsEnd(size_t position) const {
    size_t end = position;
    while (end < source_.size() && (IsDigitByte(source_[end]) ||
                                    (source_[end] == '_' && end > position &&
                                     end + 1 < source_.size() && IsDigitByte(source_[end + 1])))) {
      ++end;
    }
    return end;
  }

  Status ReadNumber() {
    const size_t whole_end = DigitsEnd(at_);
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
    size_t end = whole_end;
    bool is_float = false;
    if (!after_dot) {
      size_t fraction_end = whole_end;
      if (At(".", whole_end)) {
        const size_t digits = DigitsEnd(whole_end + 1);
        if (digits > whole_end + 1) {
          fraction_end = digits;
          is_float = true;
        }
      }
      if (fraction_end < source_.size() && (source_[fraction_end] | 0x20) == 'e') {
        size_t exponent = fraction_end + 1;
        if (At("+", exponent) || At("-", exponent)) ++exponent;
        const size_t exponent_end = DigitsEnd(exponent);
        if (exponent_end > exponent) {
          fraction_end = exponent_end;
          is_float = true;
        }
      }
      end = fraction_end;
    }
    if (is_float) {
      std::string digits = source_.substr(at_, end - at_);
      std::erase(digits, '_');
      double value = 0;
      if (!ParsePythonFloat(digits, &value)) return Error("bad number '" + digits + "'");
      Emit(TokenType::kFloat, digits).number = value;
      MoveTo(end);
      return OkStatus();
    }
    return ReadInteger(whole_end);
  }

  Status ReadInteger(size_t whole_end) {
    int base = 10;
    size_t begin = at_, end = whole_end;
    if (source_[at_] == '0' && at_ + 2 < source_.size()) {
      const char mark = static_cast<char>(source_[at_ + 1] | 0x20);
      const int marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
      const auto is_digit = [&](char c) {
        const char low = static_cast<char>(c | 0x20);
        return IsDigitByte(c) ? c - '0' < marked : marked == 16 && low >= 'a' && low <= 'f';
      };
      size_t scan = at_ + 2;
      while (marked != 0 && scan < source_.size() &&
             (is_digit(source_[scan]) ||
              (source_[scan] == '_' && scan + 1 < source_.size() && is_digit(source_[scan + 1])))) {
        ++scan;
      }
      if (marked != 0 && scan > at_ + 2) {
        base = marked;
        begin = at_ + 2;
        end = scan;
      }
    }
    if (base == 10 && source_[at_] == '0') {  // "012" is the two tokens 0 and 12
      end = at_ + 1;
      while (end < whole_end &&
             (source_[end] == '0' || (source_[end] == '_' && source_[end + 1] == '0'))) {
        ++end;
      }
    }
    int64_t value = 0;
    if (!ParseDigits(std::string_view(source_).substr(begin, end - begin), base, &value)) {
      return Error("expected an integer of at most 64 bits, got '" +
                   source_.substr(at_, std::min<size_t>(end - at_, 40)) + "'");
    }
    Emit(TokenType::kInteger, source_.substr(at_, end - at_)).integer = value;
    MoveTo(end);
    return OkStatus();
  }

  Status ReadName() {
    size_t end = at_;
    while (end < source_.size()) {
      const DecodedRune rune = DecodeUtf8(std::string_view(source_).substr(end));
      if (!IsIdentifierPart(rune.rune)) break;
      end += rune.size;
    }
    if (!IsIdentifierStart(DecodeUtf8(std::string_view(source_).substr(at_)).rune)) {
      return Error("invalid character in identifier '" + source_.substr(at_, end - at_) + "'");
    }
    Emit(TokenType::kName, source_.substr(at_, end - at_));
    MoveTo(end);
    return OkStatus();
  }

  Status ReadString(char quote) {
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) return Error("expected a closing quote, got end of template");
    std::string text;
    RILL_RETURN_IF_ERROR(Unescape(std::string_view(source_).substr(at_ + 1, end - at_ - 1), text));
    Emit(TokenType::kString, std::move(text));
    MoveTo(end + 1);
    return OkStatus();
  }

  // Escapes of Python's "unicode-escape".
  Status Unescape(std::string_view raw, std::string& out) const {
    for (size_t i = 0; i < raw.size(); ++i) {
      if (raw[i] != '\\') {
        out += raw[i];
        continue;
      }
      const char c = raw[++i];  // never past the end: the string scan skips escaped characters
      static constexpr std::string_view kNames = "abfnrtv\\'\"";
      static constexpr std::string_view kValues = "\a\b\f\n\r\t\v\\'\"";
      if (const size_t known = kNames.find(c); known != std::string_view::npos) {
        out += kValues[known];
      } else if (c == '\n') {
        continue;
      } else if (c >= '0' && c <= '7') {
        char32_t rune = 0;
        size_t digits = 0;
        while (digits < 3 && i + digits < raw.size() && raw[i + digits] >= '0' &&
               raw[i + digits] <= '7') {
          rune = rune * 8 + static_cast<char32_t>(raw[i + digits++] - '0');
        }
        i += digits - 1;
        AppendUtf8(out, rune);
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const size_t count = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        char32_t rune = 0;
        for (size_t k = 1; k <= count; ++k) {
          const char digit = i + k < raw.size() ? raw[i + k] : '\0';
          const char low = static_cast<char>(digit | 0x20);
          const bool is_hex = IsDigitByte(digit) || (low >= 'a' && low <= 'f');
          if (!is_hex) return Error(std::string("truncated \\") + c + " escape in a string");
          rune =
              rune * 16 + static_cast<char32_t>(IsDigitByte(digit) ? digit - '0' : low - 'a' + 10);
        }
        if (rune > 0x10FFFF || (rune >= 0xD800 && rune <= 0xDFFF)) {
          return Error("escape in a string is not a Unicode character");
        }
        i += count;
        AppendUtf8(out, rune);
      } else if (c == 'N') {
        return Error("\\N{…} escapes are not supported");
      } else if (static_cast<unsigned char>(c) >= 0x80) {
        // Python escapes non-ASCII to ASCII first, so the backslash meets another backslash.
        const DecodedRune rune = DecodeUtf8(raw.substr(i));
        char buffer[16];
        const auto value = static_cast<unsigned>(rune.rune);
        std::snprintf(buffer, sizeof buffer,
                      value < 0x100     ? "\\x%02x"
                      : value < 0x10000 ? "\\u%04x"
                                        : "\\U%08x",
                      value);
        out += buffer;
        i += rune.size - 1u;
      } else {
        out += '\\';
        out += c;
      }
    }
    return OkStatus();
  }

  Status ReadOperator(std::string& open) {
    static constexpr std::string_view kDouble[] = {"**", "//", "==", "!=", ">=", "<="};
    size_t size = 1;
    for (const std::string_view op : kDouble) {
      if (At(op, at_)) size = 2;
    }
    const char c = source_[at_];
    if (size == 1 && std::string_view("+-/*%~[](){}><=.:|,;").find(c) == std::string_view::npos) {
      return Error("unexpected character '" +
                   PrintableUtf8(std::string_view(source_).substr(
                       at_, DecodeUtf8(std::string_view(source_).substr(at_)).size)) +
                   "'");
    }
    if (c == '(') open += ')';
    if (c == '[') open += ']';
    if (c == '{') open += '}';
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty()) return Error(std::string("unexpected '") + c + "'");
      if (open.back() != c) {
        return Error(std::string("expected '") + open.back() + "', got '" + c + "'");
      }
      open.pop_back();
    }
    Emit(TokenType::kOperator, source_.substr(at_, size));
    MoveTo(at_ + size);
    return OkStatus();
  }

  const std::string culprit_;
  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // the last thing read ended with a newline
  std::vector<Token> tokens_;
};

}  // namespace

Result<std::vector<Token>> Tokenize(std::string_view source, std::string_view culprit) {
  return Lexer(source, culprit).Run();
}

std::string DescribeToken(const Token& token) {
  switch (token.type) {
    case TokenType::kData: return "template text";
    case TokenType::kVariableBegin: return "'{{'";
    case TokenType::kVariableEnd: return "'}}'";
    case TokenType::kBlockBegin: return "'{%'";
    case TokenType::kBlockEnd: return "'%}'";
    case TokenType::kString: return "string '" + PrintableUtf8(token.text, 40) + "'";
    case TokenType::kEnd: return "end of template";
    case TokenType::kName:
    case TokenType::kInteger:
    case TokenType::kFloat:
    case TokenType::kOperator: return "'" + PrintableUtf8(token.text, 40) + "'";
  }
  return "?";
}

}  // namespace rill::text::jinja
