// Hand-written matchers for the pre-tokenizer patterns of released models. Each reproduces what a
// backtracking engine finds, in one pass. Every character belongs to some match of these patterns,
// so a match always starts where the last one ended.

#include <algorithm>
#include <array>

#include "text/pattern_matcher.h"
#include "text/rune_scan.h"
#include "text/unicode_category.h"

namespace rill::text {
namespace internal {
namespace {

constexpr uint32_t kUpperish = CategoryBit(kLu) | CategoryBit(kLt);  // plus Lm Lo M, see below

// Which contraction suffixes ('s 't 're …) a pattern knows.
enum class Contractions : uint8_t { kNone, kLowerCase, kAnyCase, kAnyCaseFolded };

// Length of 's 't 'm 'd 'll 've 're at `pos`, or 0. kAnyCaseFolded also takes U+017F for s, as
// case folding says; patterns that spell the cases out ([sS]) do not.
size_t MatchContraction(std::string_view text, size_t pos, Contractions mode) {
  if (mode == Contractions::kNone || text.size() - pos < 2 || text[pos] != '\'') return 0;
  const auto lower = [&](size_t i) -> char {
    if (pos + i >= text.size()) return 0;
    const char c = text[pos + i];
    if (mode != Contractions::kLowerCase && c >= 'A' && c <= 'Z') return static_cast<char>(c + 32);
    return c;
  };
  const char a = lower(1);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  const char b = lower(2);
  if ((a == 'l' && b == 'l') || (a == 'v' && b == 'e') || (a == 'r' && b == 'e')) return 3;
  if (mode == Contractions::kAnyCaseFolded && text.substr(pos + 1).starts_with("\xC5\xBF")) {
    return 3;
  }
  return 0;
}

size_t SkipWhile(std::string_view text, size_t pos, uint32_t mask) {
  while (pos < text.size()) {
    const ScannedRune r = ScanRune(text, pos);
    if ((CategoryMask(r.rune) & mask) == 0) break;
    pos += r.size;
  }
  return pos;
}
size_t SkipWhileNot(std::string_view text, size_t pos, uint32_t mask) {
  while (pos < text.size()) {
    const ScannedRune r = ScanRune(text, pos);
    if ((CategoryMask(r.rune) & mask) != 0) break;
    pos += r.size;
  }
  return pos;
}

// \s+(?!\S)|\s+ at white space: a run up to the text's end, else all of it but its last character,
// else (one character) itself. `run_end` is where the run ends.
size_t MatchSpaceRun(std::string_view text, size_t pos, size_t run_end) {
  if (run_end == text.size()) return run_end;
  const size_t last = PreviousRune(text, run_end);
  return last > pos ? last : run_end;
}

uint32_t MaskAt(std::string_view text, size_t pos) {
  return pos < text.size() ? CategoryMask(ScanRune(text, pos).rune) : 0;
}

class FullCoverMatcher : public PatternMatcher {
 public:
  bool Find(std::string_view text, size_t from, size_t& begin, size_t& end) const final {
    if (from >= text.size()) return false;
    begin = from;
    end = MatchAt(text, from);
    return true;
  }

 protected:
  virtual size_t MatchAt(std::string_view text, size_t pos) const = 0;  // > pos
};

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
class Gpt2Matcher final : public FullCoverMatcher {
 public:
  std::string_view name() const override { return "hand-written: gpt2"; }

 protected:
  size_t MatchAt(std::string_view text, size_t pos) const override {
    if (const size_t n = MatchContraction(text, pos, Contractions::kLowerCase)) return pos + n;
    const size_t body = pos + (text[pos] == ' ' ? 1 : 0);
    const uint32_t mask = MaskAt(text, body);
    if (mask & kMaskL) return SkipWhile(text, body, kMaskL);
    if (mask & kMaskN) return SkipWhile(text, body, kMaskN);
    if (mask != 0 && !(mask & kMaskSpace)) {
      return SkipWhileNot(text, body, kMaskSpace | kMaskL | kMaskN);
    }
    return MatchSpaceRun(text, pos, SkipWhile(text, pos, kMaskSpace));
  }
};

size_t SkipNewlines(std::string_view text, size_t pos, bool slash) {
  while (pos < text.size() &&
         (text[pos] == '\r' || text[pos] == '\n' || (slash && text[pos] == '/'))) {
    ++pos;
  }
  return pos;
}

// Up to `max_digits` numbers; 0 = no limit.
size_t SkipNumbers(std::string_view text, size_t pos, int max_digits) {
  for (int i = 0; pos < text.size() && (max_digits == 0 || i < max_digits); ++i) {
    const ScannedRune r = ScanRune(text, pos);
    if ((CategoryMask(r.rune) & kMaskN) == 0) break;
    pos += r.size;
  }
  return pos;
}

// \s*[\r\n]+|\s+(?!\S)|\s+ at white space. With `whole_tail` the pattern has \s++$ first.
size_t MatchSpaceOrNewlines(std::string_view text, size_t pos, bool whole_tail) {
  const size_t run_end = SkipWhile(text, pos, kMaskSpace);
  if (whole_tail && run_end == text.size()) return run_end;
  for (size_t p = run_end; p > pos; --p) {
    if (text[p - 1] == '\r' || text[p - 1] == '\n') return p;
  }
  return MatchSpaceRun(text, pos, run_end);
}

struct Cl100kOptions {
  Contractions contractions = Contractions::kAnyCaseFolded;
  uint32_t letters = kMaskL;  // kMaskL | kMaskM in newer patterns
  int max_digits = 3;
  bool whole_tail = false;
};

// contractions|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
class Cl100kMatcher final : public FullCoverMatcher {
 public:
  explicit Cl100kMatcher(const Cl100kOptions& options) : options_(options) {}
  std::string_view name() const override { return "hand-written: cl100k family"; }

 protected:
  size_t MatchAt(std::string_view text, size_t pos) const override {
    if (const size_t n = MatchContraction(text, pos, options_.contractions)) return pos + n;
    const ScannedRune first = ScanRune(text, pos);
    const uint32_t mask = CategoryMask(first.rune);
    if (mask & options_.letters) return SkipWhile(text, pos, options_.letters);
    if (!(mask & kMaskN) && first.rune != '\r' && first.rune != '\n' &&
        (MaskAt(text, pos + first.size) & options_.letters)) {
      return SkipWhile(text, pos + first.size, options_.letters);
    }
    if (mask & kMaskN) return SkipNumbers(text, pos, options_.max_digits);
    const uint32_t none = kMaskSpace | options_.letters | kMaskN;
    const size_t body = pos + (text[pos] == ' ' ? 1 : 0);
    const uint32_t body_mask = MaskAt(text, body);
    if (body_mask != 0 && !(body_mask & none)) {
      return SkipNewlines(text, SkipWhileNot(text, body, none), false);
    }
    return MatchSpaceOrNewlines(text, pos, options_.whole_tail);
  }

 private:
  Cl100kOptions options_;
};

struct O200kOptions {
  Contractions contractions = Contractions::kAnyCaseFolded;
  bool modifier_is_lower = true;  // \p{Lm} stands in the lower-case class, too
  int max_digits = 3;
};

// With U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}], L = [\p{Ll}\p{Lm}\p{Lo}\p{M}], C = contractions:
//   [^\r\n\p{L}\p{N}]?U*L+C?|[^\r\n\p{L}\p{N}]?U+L*C?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*
//   |\s*[\r\n]+|\s+(?!\S)|\s+
class O200kMatcher final : public FullCoverMatcher {
 public:
  explicit O200kMatcher(const O200kOptions& options) : options_(options) {
    const uint32_t both = CategoryBit(kLo) | kMaskM;
    upper_ = kUpperish | CategoryBit(kLm) | both;
    lower_ = CategoryBit(kLl) | both | (options.modifier_is_lower ? CategoryBit(kLm) : 0);
  }
  std::string_view name() const override { return "hand-written: o200k family"; }

 protected:
  size_t MatchAt(std::string_view text, size_t pos) const override {
    const ScannedRune first = ScanRune(text, pos);
    const uint32_t mask = CategoryMask(first.rune);
    const bool can_lead = !(mask & (kMaskL | kMaskN)) && first.rune != '\r' && first.rune != '\n';
    size_t end = 0;
    if (can_lead) end = MatchLower(text, pos + first.size);
    if (end == 0) end = MatchLower(text, pos);
    if (end == 0 && can_lead) end = MatchUpper(text, pos + first.size);
    if (end == 0) end = MatchUpper(text, pos);
    if (end != 0) return end + MatchContraction(text, end, options_.contractions);
    if (mask & kMaskN) return SkipNumbers(text, pos, options_.max_digits);
    const uint32_t none = kMaskSpace | kMaskL | kMaskN;
    const size_t body = pos + (text[pos] == ' ' ? 1 : 0);
    const uint32_t body_mask = MaskAt(text, body);
    if (body_mask != 0 && !(body_mask & none)) {
      return SkipNewlines(text, SkipWhileNot(text, body, none), true);
    }
    return MatchSpaceOrNewlines(text, pos, false);
  }

 private:
  // U*L+ at `pos`: its end, or 0.
  size_t MatchLower(std::string_view text, size_t pos) const {
    const size_t upper_end = SkipWhile(text, pos, upper_);
    const size_t lower_end = SkipWhile(text, upper_end, lower_);
    if (lower_end > upper_end) return lower_end;
    // U* gives back characters until one is in L, too. What follows that one in the run is in U
    // but not in L, so L+ takes exactly it.
    for (size_t p = upper_end; p > pos;) {
      const size_t before = PreviousRune(text, p);
      if (CategoryMask(ScanRune(text, before).rune) & lower_) return p;
      p = before;
    }
    return 0;
  }
  // U+L* at `pos`: its end, or 0.
  size_t MatchUpper(std::string_view text, size_t pos) const {
    const size_t upper_end = SkipWhile(text, pos, upper_);
    return upper_end == pos ? 0 : SkipWhile(text, upper_end, lower_);
  }

  O200kOptions options_;
  uint32_t upper_;
  uint32_t lower_;
};

constexpr std::string_view kAnyCase[] = {
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)", "'(?i:[sdmt]|ll|ve|re)",
    "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])",
    "'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])"};

// Takes a contraction group off the front of `rest`; kNone when there is none.
Contractions ConsumeContractions(std::string_view& rest) {
  for (size_t i = 0; i < std::size(kAnyCase); ++i) {
    if (!rest.starts_with(kAnyCase[i])) continue;
    rest.remove_prefix(kAnyCase[i].size());
    return i < 2 ? Contractions::kAnyCaseFolded : Contractions::kAnyCase;
  }
  return Contractions::kNone;
}

bool Consume(std::string_view& rest, std::string_view token) {
  if (!rest.starts_with(token)) return false;
  rest.remove_prefix(token.size());
  return true;
}

std::shared_ptr<const PatternMatcher> ParseCl100k(std::string_view rest) {
  Cl100kOptions options;
  options.contractions = ConsumeContractions(rest);
  if (options.contractions != Contractions::kNone && !Consume(rest, "|")) return nullptr;
  if (!Consume(rest, R"([^\r\n\p{L}\p{N}]?)")) return nullptr;
  Consume(rest, "+");  // possessive: what it takes is never in \p{L}
  std::string_view none = R"(| ?[^\s\p{L}\p{N}]+)";
  if (Consume(rest, R"([\p{L}\p{M}]+)")) {
    options.letters = kMaskL | kMaskM;
    none = R"(| ?[^\s\p{L}\p{M}\p{N}]+)";
  } else if (!Consume(rest, R"(\p{L}+)")) {
    return nullptr;
  }
  Consume(rest, "+");
  if (Consume(rest, R"(|\p{N}{1,3})")) {
    options.max_digits = 3;
  } else if (Consume(rest, R"(|\p{N}+)")) {
    options.max_digits = 0;
  } else if (Consume(rest, R"(|\p{N})")) {
    options.max_digits = 1;
  } else {
    return nullptr;
  }
  Consume(rest, "+");
  if (!Consume(rest, none)) return nullptr;
  Consume(rest, "+");
  if (!Consume(rest, R"([\r\n]*)")) return nullptr;
  Consume(rest, "+");
  options.whole_tail = Consume(rest, R"(|\s++$)");
  // \s* is greedy, so [\r\n] and [\r\n]+ end at the same last newline of the run.
  if (rest == R"(|\s*[\r\n]+|\s+(?!\S)|\s+)" || rest == R"(|\s*[\r\n]|\s+(?!\S)|\s+)" ||
      rest == R"(|\s*[\r\n]|\s+(?!\S)|\s)") {
    return std::make_shared<Cl100kMatcher>(options);
  }
  return nullptr;
}

std::shared_ptr<const PatternMatcher> ParseO200k(std::string_view rest) {
  constexpr std::string_view kLead = R"([^\r\n\p{L}\p{N}]?)";
  constexpr std::string_view kUpper = R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])";
  O200kOptions options;
  if (!Consume(rest, kLead) || !Consume(rest, kUpper) || !Consume(rest, "*")) return nullptr;
  std::string_view lower = R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])";
  if (!rest.starts_with(lower)) {
    lower = R"([\p{Ll}\p{Lo}\p{M}])";
    options.modifier_is_lower = false;
  }
  if (!Consume(rest, lower) || !Consume(rest, "+")) return nullptr;
  options.contractions = ConsumeContractions(rest);
  const bool suffix = options.contractions != Contractions::kNone;
  if (suffix && !Consume(rest, "?")) return nullptr;
  if (!Consume(rest, "|") || !Consume(rest, kLead) || !Consume(rest, kUpper) ||
      !Consume(rest, "+") || !Consume(rest, lower) || !Consume(rest, "*")) {
    return nullptr;
  }
  if (ConsumeContractions(rest) != options.contractions || (suffix && !Consume(rest, "?"))) {
    return nullptr;
  }
  if (Consume(rest, R"(|\p{N}{1,3})")) {
    options.max_digits = 3;
  } else if (Consume(rest, R"(|\p{N})")) {
    options.max_digits = 1;
  } else {
    return nullptr;
  }
  if (rest != R"(| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)") return nullptr;
  return std::make_shared<O200kMatcher>(options);
}

class WordsMatcher final : public PatternMatcher {
 public:
  std::string_view name() const override { return "hand-written: words"; }
  bool Find(std::string_view text, size_t from, size_t& begin, size_t& end) const override {
    begin = SkipWhile(text, from, kMaskSpace);
    if (begin >= text.size()) return false;
    const bool word = IsWordRune(ScanRune(text, begin).rune);
    for (end = begin; end < text.size();) {
      const ScannedRune r = ScanRune(text, end);
      if (IsWordRune(r.rune) != word || IsWhiteSpace(r.rune)) break;
      end += r.size;
    }
    return true;
  }
};

}  // namespace

std::shared_ptr<const PatternMatcher> KnownPattern(std::string_view regex) {
  if (regex == R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)" ||
      regex == R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)" ||
      regex ==
          R"('(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s)") {
    return std::make_shared<Gpt2Matcher>();
  }
  if (auto matcher = ParseCl100k(regex)) return matcher;
  return ParseO200k(regex);
}

}  // namespace internal

std::shared_ptr<const PatternMatcher> WordsPattern() {
  return std::make_shared<internal::WordsMatcher>();
}

}  // namespace rill::text
