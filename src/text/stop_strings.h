// StopStringMatcher: finds the first stop string in a text that comes in pieces, and lets through
// only what cannot be part of one.
//
// "First" is the match that ends first; of those that end at the same byte, the longest. The text
// before it is emitted, nothing of the stop string or after it. Time is linear in the text times
// the number of strings (Knuth, Morris & Pratt 1977), memory linear in the strings, whatever the
// text. Matching is by bytes: pieces and strings are whole UTF-8 characters, so a cut never breaks
// one.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace rill::text {

class StopStringMatcher {
 public:
  // Empty strings never match and are dropped.
  explicit StopStringMatcher(std::vector<std::string> stop_strings);

  // Text that is certain now. After stopped() always empty.
  std::string Push(std::string_view piece);
  // At the end of the text: what was held back.
  std::string Finish();

  bool stopped() const { return stopped_; }
  // The stop string that matched.
  const std::string& matched() const { return matched_; }

 private:
  struct Pattern {
    std::string text;
    std::vector<size_t> fallback;  // [size] length of the longest proper border of text[0, i]
    size_t state = 0;              // bytes of text that end the input so far
  };
  std::vector<Pattern> patterns_;
  std::string held_;  // not emitted yet: the longest partial match of any pattern
  bool stopped_ = false;
  std::string matched_;
};

}  // namespace rill::text
