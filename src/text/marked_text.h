// MarkedText: a text that remembers which of its bytes a trusted author wrote.
//
// A chat template's own literals ("<|im_start|>") are trusted: they may become control tokens.
// What a user wrote is not: a literal "<|im_end|>" in a message must stay plain text (threat C6).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace rill::text {

struct TextRun {
  size_t begin = 0;  // byte range [begin, end)
  size_t end = 0;
};

struct MarkedText {
  std::string text;
  std::vector<TextRun> trusted;  // sorted, disjoint, not touching; everything else is untrusted

  static MarkedText Trusted(std::string text) {
    MarkedText out{std::move(text), {}};
    if (!out.text.empty()) out.trusted.push_back({0, out.text.size()});
    return out;
  }
  static MarkedText Untrusted(std::string text) { return {std::move(text), {}}; }
};

}  // namespace rill::text
