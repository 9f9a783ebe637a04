// PatternMatcher: finds the matches of one pre-tokenizer pattern.
//
// The patterns of released models are recognised by their text and run by hand-written matchers,
// in time linear in the text. Every other pattern runs on PCRE2 within limits.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "rill/status.h"

namespace rill::text {

class PatternMatcher {
 public:
  virtual ~PatternMatcher() = default;
  // The leftmost match that starts in [from, text.size()]. False when there is none.
  // The match may be empty. `text` is valid UTF-8 and `from` a character border. Thread-safe.
  virtual bool Find(std::string_view text, size_t from, size_t& begin, size_t& end) const = 0;
  // "hand-written: cl100k", "PCRE2".
  virtual std::string_view name() const = 0;
};

// The matcher of a regular expression in the syntax that tokenizer.json files use (Oniguruma's
// Ruby syntax, Unicode classes). Errors: kInvalidArgument when it does not compile;
// kResourceExhausted when its self-test shows catastrophic backtracking.
Result<std::shared_ptr<const PatternMatcher>> CompilePattern(std::string_view regex);

// A literal string. `literal` is not empty.
std::shared_ptr<const PatternMatcher> LiteralPattern(std::string literal);

// What the Whitespace pre-tokenizer keeps: \w+|[^\w\s]+ with IsWordRune for \w.
std::shared_ptr<const PatternMatcher> WordsPattern();

namespace internal {
// nullptr when the pattern is none of the known ones.
std::shared_ptr<const PatternMatcher> KnownPattern(std::string_view regex);
// nullptr when the pattern is not [class][?] class[+|{1,n}] or a row of classes.
std::shared_ptr<const PatternMatcher> ClassRunPattern(std::string_view regex);
Result<std::shared_ptr<const PatternMatcher>> Pcre2Pattern(std::string_view regex);
}  // namespace internal

}  // namespace rill::text
