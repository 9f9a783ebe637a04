// Patterns that are a row of character classes, the last one perhaps repeated: "\p{N}{1,3}",
// "[\r\n]", "\s?\p{L}+", "[0-9][0-9][0-9]", "\s+$". Matched by hand, in linear time.

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <vector>

#include "base/utf8.h"
#include "text/pattern_matcher.h"
#include "text/rune_scan.h"
#include "text/unicode_category.h"

namespace rill::text::internal {
namespace {

struct CharClass {
  bool negated = false;
  uint32_t mask = 0;
  bool alphabetic_symbols = false;
  std::vector<std::pair<char32_t, char32_t>> ranges;  // sorted by Prepare
  std::array<bool, 128> ascii{};

  bool Slow(char32_t c) const {
    bool in = (CategoryMask(c) & mask) != 0 || (alphabetic_symbols && IsAlphabeticSymbol(c));
    if (!in && !ranges.empty()) {
      auto it = std::upper_bound(ranges.begin(), ranges.end(), std::pair{c, char32_t{0x10FFFF}});
      in = it != ranges.begin() && std::prev(it)->second >= c;
    }
    return in != negated;
  }
  bool Has(char32_t c) const { return c < 128 ? ascii[c] : Slow(c); }
  void Prepare() {
    std::sort(ranges.begin(), ranges.end());
    // Overlapping ranges are merged: the search looks at one range only.
    std::vector<std::pair<char32_t, char32_t>> merged;
    for (const auto& range : ranges) {
      if (!merged.empty() && range.first <= merged.back().second) {
        merged.back().second = std::max(merged.back().second, range.second);
      } else {
        merged.push_back(range);
      }
    }
    ranges = std::move(merged);
    for (char32_t c = 0; c < 128; ++c) ascii[c] = Slow(c);
  }
};

struct CategoryName {
  std::string_view name;
  uint32_t mask;
};
constexpr CategoryName kCategoryNames[] = {
    {"L", kMaskL},
    {"M", kMaskM},
    {"N", kMaskN},
    {"P", kMaskP},
    {"S", kMaskS},
    {"Z", kMaskZ},
    {"Lu", CategoryBit(kLu)},
    {"Ll", CategoryBit(kLl)},
    {"Lt", CategoryBit(kLt)},
    {"Lm", CategoryBit(kLm)},
    {"Lo", CategoryBit(kLo)},
    {"Mn", CategoryBit(kMn)},
    {"Nd", CategoryBit(kNd)},
    {"Nl", CategoryBit(kNl)},
    {"No", CategoryBit(kNo)},
    {"Zs", CategoryBit(kZs)},
};

class ClassParser {
 public:
  explicit ClassParser(std::string_view text) : text_(text) {}
  bool done() const { return pos_ >= text_.size(); }
  bool Eat(char c) {
    if (done() || text_[pos_] != c) return false;
    ++pos_;
    return true;
  }
  std::string_view rest() const { return text_.substr(pos_); }
  void Skip(size_t n) { pos_ += n; }

  // One class, escape or plain character.
  bool ParseAtom(CharClass& out) {
    if (done()) return false;
    if (Eat('[')) return ParseBracket(out);
    if (text_[pos_] == '\\') return ParseEscape(out, nullptr);
    if (std::string_view(".^$|?*+(){}").find(text_[pos_]) != std::string_view::npos) return false;
    const char32_t c = TakeRune();
    out.ranges.push_back({c, c});
    return true;
  }

 private:
  char32_t TakeRune() {
    const ScannedRune r = ScanRune(text_, pos_);
    pos_ += r.size;
    return r.rune;
  }
  // With `single`, a plain character goes there (it may start a range); else into `out`.
  bool ParseEscape(CharClass& out, std::optional<char32_t>* single) {
    ++pos_;  // the backslash
    if (done()) return false;
    const char c = text_[pos_++];
    char32_t literal = 0;
    switch (c) {
      case 's': out.mask |= kMaskSpace; return true;
      case 'd': out.mask |= CategoryBit(kNd); return true;
      case 'w':
        out.mask |= kMaskWord;
        out.alphabetic_symbols = true;
        if (!single) {  // as pattern_translate.cc does
          for (const char32_t c32 : {0xB2, 0xB3, 0xB9, 0xBC, 0xBD, 0xBE}) {
            out.ranges.push_back({c32, c32});
          }
        }
        return true;
      case 'p': {
        if (!Eat('{')) return false;
        const size_t close = text_.find('}', pos_);
        if (close == std::string_view::npos) return false;
        const std::string_view name = text_.substr(pos_, close - pos_);
        pos_ = close + 1;
        for (const CategoryName& known : kCategoryNames) {
          if (known.name == name) {
            out.mask |= known.mask;
            return true;
          }
        }
        return false;
      }
      case 'r': literal = '\r'; break;
      case 'n': literal = '\n'; break;
      case 't': literal = '\t'; break;
      default:
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
            static_cast<unsigned char>(c) >= 0x80) {
          return false;
        }
        literal = static_cast<unsigned char>(c);
    }
    if (single) {
      *single = literal;
    } else {
      out.ranges.push_back({literal, literal});
    }
    return true;
  }
  bool ParseBracket(CharClass& out) {
    out.negated = Eat('^');
    bool first = true;
    while (!done()) {
      if (text_[pos_] == ']' && !first) {
        ++pos_;
        return true;
      }
      first = false;
      if (text_[pos_] == '[' || text_.substr(pos_).starts_with("&&")) return false;  // nested sets
      std::optional<char32_t> low;
      if (text_[pos_] == '\\') {
        if (!ParseEscape(out, &low)) return false;
        if (!low) continue;
      } else {
        low = TakeRune();
      }
      char32_t high = *low;
      if (pos_ + 1 < text_.size() && text_[pos_] == '-' && text_[pos_ + 1] != ']') {
        ++pos_;
        if (text_[pos_] == '\\') {
          std::optional<char32_t> end;
          if (!ParseEscape(out, &end) || !end) return false;
          high = *end;
        } else if (text_[pos_] == '[') {
          return false;
        } else {
          high = TakeRune();
        }
      }
      if (high < *low) return false;
      out.ranges.push_back({*low, high});
    }
    return false;
  }

  std::string_view text_;
  size_t pos_ = 0;
};

class ClassRunMatcher final : public PatternMatcher {
 public:
  std::optional<CharClass> lead;  // lead? before the run
  std::vector<CharClass> row;     // at least one; `max_repeat` belongs to the last
  size_t max_repeat = 1;          // 0: no limit
  bool at_line_end = false;       // "$"; only with a run of one class and no lead

  std::string_view name() const override { return "hand-written: character classes"; }

  bool Find(std::string_view text, size_t from, size_t& begin, size_t& end) const override {
    for (size_t pos = from; pos < text.size();) {
      const ScannedRune r = ScanRune(text, pos);
      size_t next = pos + r.size;
      size_t stop = 0;
      if (at_line_end) {
        if (row[0].Has(r.rune)) {
          const size_t run_end = RunEnd(text, pos);
          stop = run_end;
          while (stop > pos && stop != text.size() && text[stop] != '\n') {
            stop = PreviousRune(text, stop);
          }
          // No line ends inside the run: no later start in it can match either.
          if (stop == pos) stop = 0, next = run_end;
        }
      } else {
        if (lead && lead->Has(r.rune)) stop = RowEnd(text, next);
        if (stop == 0) stop = RowEnd(text, pos);
      }
      if (stop != 0) {
        begin = pos;
        end = stop;
        return true;
      }
      pos = next;
    }
    return false;
  }

 private:
  size_t RunEnd(std::string_view text, size_t pos) const {
    for (size_t count = 0; pos < text.size() && (max_repeat == 0 || count < max_repeat); ++count) {
      const ScannedRune r = ScanRune(text, pos);
      if (!row.back().Has(r.rune)) break;
      pos += r.size;
    }
    return pos;
  }
  size_t RowEnd(std::string_view text, size_t pos) const {
    for (size_t i = 0; i + 1 < row.size(); ++i) {
      if (pos >= text.size()) return 0;
      const ScannedRune r = ScanRune(text, pos);
      if (!row[i].Has(r.rune)) return 0;
      pos += r.size;
    }
    const size_t end = RunEnd(text, pos);
    return end == pos ? 0 : end;
  }
};

}  // namespace

std::shared_ptr<const PatternMatcher> ClassRunPattern(std::string_view regex) {
  if (!IsValidUtf8(regex)) return nullptr;
  auto matcher = std::make_shared<ClassRunMatcher>();
  ClassParser parser(regex);
  while (!parser.done()) {
    if (matcher->max_repeat != 1) {  // something after the repeated class
      if (parser.rest() != "$" || matcher->max_repeat != 0 || matcher->lead ||
          matcher->row.size() != 1) {
        return nullptr;
      }
      matcher->at_line_end = true;
      break;
    }
    CharClass atom;
    if (!parser.ParseAtom(atom)) return nullptr;
    atom.Prepare();
    if (parser.Eat('?')) {
      if (matcher->lead || !matcher->row.empty()) return nullptr;
      matcher->lead = std::move(atom);
      continue;
    }
    matcher->row.push_back(std::move(atom));
    if (parser.Eat('+')) {
      if (parser.Eat('+') || parser.Eat('?')) return nullptr;
      matcher->max_repeat = 0;
    } else if (parser.rest().starts_with("{1,")) {
      size_t count = 0;
      const std::string_view rest = parser.rest();
      const auto parsed = std::from_chars(rest.data() + 3, rest.data() + rest.size(), count);
      if (parsed.ec != std::errc() || count < 2 || count > 1000 ||
          parsed.ptr == rest.data() + rest.size() || *parsed.ptr != '}') {
        return nullptr;
      }
      parser.Skip(static_cast<size_t>(parsed.ptr - rest.data()) + 1);
      matcher->max_repeat = count;
    }
  }
  if (matcher->row.empty()) return nullptr;
  // A repeated class after a row could have to give characters back only if it stood first.
  return matcher;
}

}  // namespace rill::text::internal
