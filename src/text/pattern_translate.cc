#include "text/pattern_translate.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <vector>

#include "base/utf8.h"
#include "text/rune_scan.h"

namespace rill::text::internal {
namespace {

constexpr int kMaxSetDepth = 32;

constexpr std::string_view kSpace = "\\p{White_Space}";
constexpr std::string_view kHexDigits = "0-9a-fA-F";
constexpr std::string_view kWord = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
// Outside of brackets Oniguruma reads \w from a table of Latin-1 that also holds the small digits
// and the fractions. Measured with the `tokenizers` package over all code points.
constexpr std::string_view kBareWord =
    "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}";

// The content of a PCRE2 class.
struct Items {
  std::string text;
  bool negated = false;
};

bool IsLetter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}
int HexValue(char c) {
  if (IsDigit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// What a class without brackets may be: one property.
bool IsOneProperty(std::string_view items) {
  return items.starts_with("\\p{") && items.find('}') == items.size() - 1;
}
std::string Complement(std::string_view property) {
  return "\\P" + std::string(property.substr(2));
}

// Alphabetic and Lowercase with what Unicode 15 and 16 changed among older characters.
constexpr std::string_view kAlphanumeric =
    "\\p{Nd}\\p{Alphabetic}\\x{363}-\\x{36F}\\x{C04}\\x{F82}\\x{F83}\\x{1DD3}-\\x{1DE6}\\x{11080}"
    "\\x{11081}";
constexpr std::string_view kAlphabetic = kAlphanumeric.substr(std::string_view("\\p{Nd}").size());
constexpr std::string_view kLowercase = "\\p{Lowercase}\\x{10FC}\\x{A7F2}-\\x{A7F4}\\x{AB69}";

struct NamedClass {
  std::string_view name;
  std::string_view items;
  bool negated = false;
};
// The POSIX brackets of Unicode strings. [[:punct:]] has the symbols, too; \p{Punct} has not.
constexpr NamedClass kPosix[] = {
    {"alnum", kAlphanumeric},
    {"alpha", kAlphabetic},
    {"ascii", "\\x00-\\x7F"},
    {"blank", "\\p{Zs}\\t"},
    {"cntrl", "\\p{Cc}"},
    {"digit", "\\p{Nd}"},
    {"graph", "\\p{White_Space}\\p{Cc}\\p{Cn}\\p{Cs}", true},
    {"lower", kLowercase},
    {"print", "\\p{Cc}\\p{Cn}\\p{Cs}\\p{Zl}\\p{Zp}", true},
    {"punct", "\\p{P}\\p{S}"},
    {"space", kSpace},
    {"upper", "\\p{Uppercase}"},
    {"word", kWord},
    {"xdigit", kHexDigits},
};
constexpr NamedClass kProperties[] = {
    {"punct", "\\p{P}"},
    {"alphabetic", kAlphabetic},
    {"lowercase", kLowercase},
    {"posixpunct", "\\p{P}\\p{S}"},
    {"any", "\\p{Any}"},
    {"assigned", "\\p{Cn}", true},
    {"other", "\\p{C}"},
    {"control", "\\p{Cc}"},
    {"format", "\\p{Cf}"},
    {"unassigned", "\\p{Cn}"},
    {"privateuse", "\\p{Co}"},
    {"surrogate", "\\p{Cs}"},
    {"letter", "\\p{L}"},
    {"casedletter", "\\p{Lu}\\p{Ll}\\p{Lt}"},
    {"lc", "\\p{Lu}\\p{Ll}\\p{Lt}"},
    {"lowercaseletter", "\\p{Ll}"},
    {"modifierletter", "\\p{Lm}"},
    {"otherletter", "\\p{Lo}"},
    {"titlecaseletter", "\\p{Lt}"},
    {"uppercaseletter", "\\p{Lu}"},
    {"mark", "\\p{M}"},
    {"combiningmark", "\\p{M}"},
    {"spacingmark", "\\p{Mc}"},
    {"enclosingmark", "\\p{Me}"},
    {"nonspacingmark", "\\p{Mn}"},
    {"number", "\\p{N}"},
    {"decimalnumber", "\\p{Nd}"},
    {"letternumber", "\\p{Nl}"},
    {"othernumber", "\\p{No}"},
    {"punctuation", "\\p{P}"},
    {"connectorpunctuation", "\\p{Pc}"},
    {"dashpunctuation", "\\p{Pd}"},
    {"closepunctuation", "\\p{Pe}"},
    {"finalpunctuation", "\\p{Pf}"},
    {"initialpunctuation", "\\p{Pi}"},
    {"otherpunctuation", "\\p{Po}"},
    {"openpunctuation", "\\p{Ps}"},
    {"symbol", "\\p{S}"},
    {"currencysymbol", "\\p{Sc}"},
    {"modifiersymbol", "\\p{Sk}"},
    {"mathsymbol", "\\p{Sm}"},
    {"othersymbol", "\\p{So}"},
    {"separator", "\\p{Z}"},
    {"lineseparator", "\\p{Zl}"},
    {"paragraphseparator", "\\p{Zp}"},
    {"spaceseparator", "\\p{Zs}"},
};

template <size_t kSize>
std::optional<Items> FindNamed(const NamedClass (&classes)[kSize], std::string_view name) {
  for (const NamedClass& c : classes) {
    if (c.name == name) return Items{std::string(c.items), c.negated};
  }
  return std::nullopt;
}

// What \s, \w, \h and their complements are; `word` is \w.
std::optional<Items> EscapedClass(char c, std::string_view word) {
  switch (c) {
    case 's':
    case 'S': return Items{std::string(kSpace), c == 'S'};
    case 'w':
    case 'W': return Items{std::string(word), c == 'W'};
    case 'h':
    case 'H': return Items{std::string(kHexDigits), c == 'H'};
    default: return std::nullopt;
  }
}

// A set of brackets: the intersection of operands, each a union of items and sets.
struct Set {
  struct Operand {
    std::string items;
    std::vector<Set> sets;
  };
  bool negated = false;
  std::vector<Operand> operands = std::vector<Operand>(1);

  bool IsPlain() const { return operands.size() == 1 && operands[0].sets.empty(); }
};

void AddItems(const Items& items, Set::Operand& out) {
  if (!items.negated) {
    out.items += items.text;
  } else if (IsOneProperty(items.text)) {
    out.items += Complement(items.text);
  } else {
    Set set;
    set.negated = true;
    set.operands[0].items = items.text;
    out.sets.push_back(std::move(set));
  }
}

void WriteItems(const Items& items, std::string& out) {
  if (items.text.empty()) {
    out += items.negated ? "(?s:.)" : "(?!)";
  } else if (IsOneProperty(items.text)) {
    out += items.negated ? Complement(items.text) : items.text;
  } else {
    out += items.negated ? "[^" : "[";
    out += items.text;
    out += ']';
  }
}

void WriteSet(const Set& set, bool complement, std::string& out);

// A union, or (with `complement`) what is in none of its parts: one character either way.
void WriteOperand(const Set::Operand& operand, bool complement, std::string& out) {
  const bool has_items = !operand.items.empty() || operand.sets.empty();
  const size_t parts = operand.sets.size() + (has_items ? 1 : 0);
  if (parts > 1) out += "(?:";
  size_t part = 0;
  const auto write = [&](const auto& write_part) {
    ++part;
    const bool guard = complement && part < parts;  // none of its parts: this and the next ones
    if (!complement && part > 1) out += '|';
    if (guard) out += "(?=";
    write_part();
    if (guard) out += ')';
  };
  if (has_items) write([&] { WriteItems({operand.items, complement}, out); });
  for (const Set& set : operand.sets) write([&] { WriteSet(set, complement, out); });
  if (parts > 1) out += ')';
}

void WriteSet(const Set& set, bool complement, std::string& out) {
  const bool inverse = set.negated != complement;
  if (set.operands.size() == 1) return WriteOperand(set.operands[0], inverse, out);
  out += "(?:";
  for (size_t i = 0; i < set.operands.size(); ++i) {
    const bool guard = !inverse && i + 1 < set.operands.size();
    if (inverse && i > 0) out += '|';
    if (guard) out += "(?=";
    WriteOperand(set.operands[i], inverse, out);
    if (guard) out += ')';
  }
  out += ')';
}

class Translator {
 public:
  Translator(std::string_view regex, const std::function<bool(std::string_view)>& is_script)
      : in_(regex), is_script_(is_script) {}

  Result<std::string> Run() {
    while (pos_ < in_.size()) {
      const char c = in_[pos_];
      if (c == '\\' && pos_ + 1 < in_.size()) {
        atom_ = out_.size();
        ++pos_;
        RILL_RETURN_IF_ERROR(Escape());
      } else if (c == '[') {
        atom_ = out_.size();
        ++pos_;
        RILL_ASSIGN_OR_RETURN(const Set set, ReadSet(0));
        WriteSet(set, false, out_);
      } else if (c == '(') {
        OpenGroup();
      } else if (c == ')') {
        atom_ = groups_.empty() ? out_.size() : groups_.back();
        if (!groups_.empty()) groups_.pop_back();
        out_ += in_[pos_++];
      } else if (c == '{') {
        Interval();
      } else {
        const size_t size = ScanRune(in_, pos_).size;
        if (std::string_view("?*+").find(c) == std::string_view::npos) atom_ = out_.size();
        out_ += in_.substr(pos_, size);
        pos_ += size;
      }
    }
    return std::move(out_);
  }

 private:
  Status Error(const std::string& what) const {
    return InvalidArgument("pre-tokenizer pattern \"" + PrintableUtf8(in_, 80) + "\": " + what);
  }

  // "(" and what belongs to it. (?m) lets the dot match line ends; PCRE2 calls that (?s).
  void OpenGroup() {
    groups_.push_back(out_.size());
    out_ += in_[pos_++];
    if (in_.substr(pos_).starts_with("?#")) {
      const size_t close = std::min(in_.find(')', pos_), in_.size());
      out_ += in_.substr(pos_, close - pos_);
      pos_ = close;
      return;
    }
    if (pos_ >= in_.size() || in_[pos_] != '?') return;
    size_t end = pos_ + 1;
    while (end < in_.size() && (IsLetter(in_[end]) || in_[end] == '-')) ++end;
    if (end == pos_ + 1 || end == in_.size() || (in_[end] != ':' && in_[end] != ')')) return;
    std::string options(in_.substr(pos_, end - pos_));
    std::replace(options.begin(), options.end(), 'm', 's');
    out_ += options;
    pos_ = end;
  }

  // {n}, {n,}, {,m}, {n,m}: a "+" behind it repeats, where PCRE2 would make it possessive.
  void Interval() {
    size_t end = pos_ + 1;
    bool digits = false;
    bool comma = false;
    for (; end < in_.size(); ++end) {
      if (IsDigit(in_[end])) {
        digits = true;
      } else if (in_[end] == ',' && !comma) {
        comma = true;
      } else {
        break;
      }
    }
    if (!digits || end == in_.size() || in_[end] != '}') {
      atom_ = out_.size();
      out_ += in_[pos_++];
      return;
    }
    std::string interval(in_.substr(pos_, end + 1 - pos_));
    if (interval[1] == ',') interval.insert(1, "0");
    pos_ = end + 1;
    out_ += interval;
    if (pos_ < in_.size() && in_[pos_] == '+') {
      out_.insert(atom_, "(?:");
      out_ += ")+";
      ++pos_;
    }
  }

  // After a backslash, outside of brackets.
  Status Escape() {
    const char c = in_[pos_];
    if (const std::optional<Items> known = EscapedClass(c, kBareWord)) {
      WriteItems(*known, out_);
      ++pos_;
      return OkStatus();
    }
    switch (c) {
      case 'b': WriteBorder(true); break;
      case 'B': WriteBorder(false); break;
      case 'O': out_ += "(?s:.)"; break;
      case 'v': out_ += "\\x0B"; break;
      case 'E':
      case 'Q':
      case 'V': out_ += c; break;  // no escapes there
      case 'u': {
        char32_t rune = 0;
        if (!ReadHex4(rune)) return Error("\\u without four hexadecimal digits");
        WriteRune(rune, out_);
        return OkStatus();
      }
      case 'p':
      case 'P': {
        if (pos_ + 1 >= in_.size() || in_[pos_ + 1] != '{') {
          out_ += c;
          break;
        }
        RILL_ASSIGN_OR_RETURN(Items items, ReadProperty());
        if (items.text == kWord) items.text = kBareWord;
        WriteItems(items, out_);
        return OkStatus();
      }
      default: {
        if (c == 'x' && in_.size() - pos_ > 2 && HexValue(in_[pos_ + 1]) >= 8 &&
            HexValue(in_[pos_ + 2]) >= 0) {  // a byte of a character there, U+0080 and up here
          return Error("\\x of a byte above 7F: expected \\x{...}");
        }
        const size_t size = ScanRune(in_, pos_).size;
        out_ += '\\';
        out_ += in_.substr(pos_, size);
        pos_ += size;
        return OkStatus();
      }
    }
    ++pos_;
    return OkStatus();
  }

  void WriteBorder(bool border) {
    std::string word;
    WriteItems({std::string(kBareWord), false}, word);
    out_ += "(?(?<=" + word + ")" + (border ? "(?!" : "(?=") + word + ")|" +
            (border ? "(?=" : "(?!") + word + "))";
  }

  static void WriteRune(char32_t rune, std::string& out) {
    const bool plain =
        rune < 0x80 && (IsLetter(static_cast<char>(rune)) || IsDigit(static_cast<char>(rune)));
    if (plain) {
      out += static_cast<char>(rune);
    } else if (rune > 0x20 && rune < 0x7F) {
      out += '\\';
      out += static_cast<char>(rune);
    } else {
      char text[16];
      std::snprintf(text, sizeof text, "\\x{%X}", static_cast<unsigned>(rune));
      out += text;
    }
  }

  bool ReadHex4(char32_t& rune) {
    rune = 0;
    for (size_t i = 1; i <= 4; ++i) {
      const int digit = pos_ + i < in_.size() ? HexValue(in_[pos_ + i]) : -1;
      if (digit < 0) return false;
      rune = rune * 16 + static_cast<char32_t>(digit);
    }
    pos_ += 5;
    return true;
  }

  // At the p of \p{name}, \P{name}, \p{^name}.
  Result<Items> ReadProperty() {
    bool negated = in_[pos_] == 'P';
    const size_t close = in_.find('}', pos_);
    if (close == std::string_view::npos) return Error("a property without \"}\"");
    std::string_view name = in_.substr(pos_ + 2, close - pos_ - 2);
    pos_ = close + 1;
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    std::string key;
    for (const char c : name) {
      if (c == ' ' || c == '_' || c == '-') continue;
      if (!IsLetter(c) && !IsDigit(c)) key.clear();
      if (!IsLetter(c) && !IsDigit(c)) break;
      key += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    }
    if (key.empty()) return Error("unknown property \"" + PrintableUtf8(name, 40) + "\"");
    std::optional<Items> items = FindNamed(kProperties, key);
    if (!items) items = FindNamed(kPosix, key);
    constexpr std::string_view kCategories =
        " l lu ll lt lm lo m mn mc me n nd nl no p pc pd ps pe pi pf po s sm sc sk so z zs zl zp c "
        "cc cf cn co cs ";
    if (!items && kCategories.find(" " + key + " ") != std::string_view::npos) {
      key[0] = static_cast<char>(key[0] - 32);
      items = Items{"\\p{" + key + "}"};
    }
    // PCRE2 takes a bare script's name for its extensions: "。" would be Han.
    if (!items && is_script_(key)) items = Items{"\\p{sc:" + key + "}"};
    if (!items) items = Items{"\\p{" + key + "}"};
    items->negated = items->negated != negated;
    return *items;
  }

  // After "[": the rest of the set, with its "]".
  Result<Set> ReadSet(int depth) {
    if (depth >= kMaxSetDepth) return Error("sets nested more than 32 deep");
    Set set;
    if (pos_ < in_.size() && in_[pos_] == '^') {
      set.negated = true;
      ++pos_;
    }
    for (bool first = true; pos_ < in_.size(); first = false) {
      Set::Operand& operand = set.operands.back();
      const char c = in_[pos_];
      if (c == ']' && !first) {
        ++pos_;
        return set;
      }
      if (in_.substr(pos_).starts_with("&&")) {
        pos_ += 2;
        set.operands.emplace_back();
      } else if (c == '[') {
        RILL_RETURN_IF_ERROR(ReadInnerSet(depth, operand));
      } else {
        RILL_RETURN_IF_ERROR(ReadItem(operand));
      }
    }
    return Error("a set without \"]\"");
  }

  // At a "[" inside a set: a POSIX bracket or another set.
  Status ReadInnerSet(int depth, Set::Operand& out) {
    if (in_.substr(pos_).starts_with("[:")) {
      const bool negated = in_.substr(pos_ + 2).starts_with('^');
      const size_t begin = pos_ + (negated ? 3 : 2);
      size_t end = begin;
      while (end < in_.size() && IsLetter(in_[end])) ++end;
      if (in_.substr(end).starts_with(":]")) {
        const std::string_view name = in_.substr(begin, end - begin);
        std::optional<Items> items = FindNamed(kPosix, name);
        if (!items) return Error("unknown bracket [:" + PrintableUtf8(name, 40) + ":]");
        items->negated = items->negated != negated;
        AddItems(*items, out);
        pos_ = end + 2;
        return OkStatus();
      }
    }
    ++pos_;
    RILL_ASSIGN_OR_RETURN(Set set, ReadSet(depth + 1));
    if (!set.IsPlain()) {
      out.sets.push_back(std::move(set));
    } else if (!set.negated) {
      out.items += set.operands[0].items;
    } else {
      AddItems({set.operands[0].items, true}, out);
    }
    return OkStatus();
  }

  // A character, a range or a class escape.
  Status ReadItem(Set::Operand& out) {
    std::string low;
    RILL_ASSIGN_OR_RETURN(const bool is_character, ReadCharacter(low, out));
    if (!is_character) return OkStatus();
    const std::string_view rest = in_.substr(pos_);
    const bool range = rest.size() > 1 && rest[0] == '-' && rest[1] != ']' && rest[1] != '[' &&
                       !rest.substr(1).starts_with("&&");
    out.items += low;
    if (!range) return OkStatus();
    ++pos_;
    std::string high;
    RILL_ASSIGN_OR_RETURN(const bool ends, ReadCharacter(high, out));
    if (!ends) return Error("a class at the end of a range");
    out.items += '-';
    out.items += high;
    return OkStatus();
  }

  // One character into `text` as a PCRE2 class spells it; false when it was a class, now in `out`.
  Result<bool> ReadCharacter(std::string& text, Set::Operand& out) {
    if (in_[pos_] != '\\' || pos_ + 1 >= in_.size()) {
      const ScannedRune r = ScanRune(in_, pos_);
      if (r.rune < 0x80) {
        WriteRune(r.rune, text);
      } else {
        text += in_.substr(pos_, r.size);
      }
      pos_ += r.size;
      return true;
    }
    const char c = in_[++pos_];
    if (const std::optional<Items> known = EscapedClass(c, kWord)) {
      AddItems(*known, out);
      ++pos_;
      return false;
    }
    switch (c) {
      case 'd': AddItems({"\\p{Nd}", false}, out); break;
      case 'D': AddItems({"\\p{Nd}", true}, out); break;
      case 'p':
      case 'P':
        if (pos_ + 1 < in_.size() && in_[pos_ + 1] == '{') {
          RILL_ASSIGN_OR_RETURN(const Items items, ReadProperty());
          AddItems(items, out);
          return false;
        }
        [[fallthrough]];
      default: return ReadEscapedCharacter(text);
    }
    ++pos_;
    return false;
  }

  Result<bool> ReadEscapedCharacter(std::string& text) {
    const char c = in_[pos_];
    constexpr std::string_view kLetters = "abefnrtv";
    constexpr std::string_view kCodes = "\x07\x08\x1B\x0C\n\r\t\x0B";
    if (const size_t at = kLetters.find(c); at != std::string_view::npos) {
      WriteRune(static_cast<unsigned char>(kCodes[at]), text);
      ++pos_;
      return true;
    }
    if (c == 'u') {
      char32_t rune = 0;
      if (!ReadHex4(rune)) return Error("\\u without four hexadecimal digits");
      WriteRune(rune, text);
      return true;
    }
    if (c == 'x') {  // \xHH, \x{H…}
      const bool braces = in_.substr(pos_ + 1).starts_with('{');
      size_t end = pos_ + (braces ? 2 : 1);
      char32_t rune = 0;
      for (size_t digits = 0;
           end < in_.size() && HexValue(in_[end]) >= 0 && digits < (braces ? size_t{8} : size_t{2});
           ++end, ++digits) {
        rune = rune * 16 + static_cast<char32_t>(HexValue(in_[end]));
      }
      if (braces && (end >= in_.size() || in_[end++] != '}')) return Error("\\x{ without \"}\"");
      if (!braces && rune >= 0x80) return Error("\\x of a byte above 7F: expected \\x{...}");
      pos_ = end;
      WriteRune(rune, text);
      return true;
    }
    if (c >= '0' && c <= '7') {
      char32_t rune = 0;
      for (int digits = 0; digits < 3 && pos_ < in_.size() && in_[pos_] >= '0' && in_[pos_] <= '7';
           ++digits) {
        rune = rune * 8 + static_cast<char32_t>(in_[pos_++] - '0');
      }
      WriteRune(rune, text);
      return true;
    }
    const ScannedRune r = ScanRune(in_, pos_);
    if (c == 'c' || c == 'C' || c == 'M') return Error("a control escape in a set");
    WriteRune(r.rune, text);
    pos_ += r.size;
    return true;
  }

  std::string_view in_;
  const std::function<bool(std::string_view)>& is_script_;
  size_t pos_ = 0;
  std::string out_;
  size_t atom_ = 0;             // where the last thing that can be repeated starts in out_
  std::vector<size_t> groups_;  // where the open groups start
};

}  // namespace

Result<std::string> TranslatePattern(std::string_view regex,
                                     const std::function<bool(std::string_view)>& is_script) {
  return Translator(regex, is_script).Run();
}

}  // namespace rill::text::internal
