// Stop strings: StopStrings is what a request looks for, compiled; StopStringMatcher finds the
// first of them in a text that comes in pieces, and lets through only what cannot be part of one.
//
// "First" is the match that ends first; of those that end at the same byte, the longest. The text
// before it is emitted, nothing of the stop string or after it. Time is linear in the text times
// the number of strings (Knuth, Morris & Pratt 1977). Matching is by bytes: pieces and strings are
// whole UTF-8 characters, so a cut never breaks one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace rill::text {

// Immutable, so that all choices of all prompts of a request share one. Memory: five bytes for each
// of the strings.
class StopStrings {
 public:
  // Each of less than 4 GiB. Empty strings never match and are dropped.
  explicit StopStrings(std::vector<std::string> texts);

  bool empty() const { return patterns_.empty(); }
  int64_t memory_bytes() const;

 private:
  friend class StopStringMatcher;
  struct Pattern {
    std::string text;
    std::vector<uint32_t> fallback;  // [size] length of the longest proper border of text[0, i]
  };
  std::vector<Pattern> patterns_;
};

// Memory: four bytes for each string, and the text that is held back, which is part of one.
class StopStringMatcher {
 public:
  // Null: no strings.
  explicit StopStringMatcher(std::shared_ptr<const StopStrings> strings);

  // Text that is certain now. After stopped() always empty.
  std::string Push(std::string_view piece);
  // At the end of the text: what was held back.
  std::string Finish();

  bool stopped() const { return matched_ != nullptr; }
  // The stop string that matched, or "".
  std::string_view matched() const;

 private:
  std::shared_ptr<const StopStrings> strings_;
  std::vector<uint32_t> states_;  // [strings] bytes of each that end the input so far
  std::string held_;              // not emitted yet: the longest partial match of any of them
  const StopStrings::Pattern* matched_ = nullptr;
};

}  // namespace rill::text
