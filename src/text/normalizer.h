// Normalizer: rewrites a text before it is cut into pieces. Steps are the normalizers of the
// Hugging Face `tokenizers` library and of SentencePiece, and mean the same.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "rill/status.h"
#include "text/pattern_matcher.h"
#include "text/token_table.h"

namespace rill::text {

// A text and, when tracked, where each byte came from: the offsets of the first and the last of the
// characters of the input that made it. Never fewer than those: trust depends on it. Where a part
// of a text cannot be followed character by character, all of the part is the origin.
struct Origin {
  static constexpr size_t kNowhere = ~size_t{0};  // `last` of what was made of an empty text
  size_t first;
  size_t last;
};
struct NormalizedText {
  std::string text;
  std::vector<Origin> origin;  // one per byte of text; empty when not tracked
};

// The "precompiled charsmap" of SentencePiece: a double-array trie from byte strings to their
// replacements. Every read is bounds-checked; `blob` comes from outside.
class Charsmap {
 public:
  // Layout: u32 trie bytes | trie units (u32 each) | replacements, each ended by NUL.
  static Result<std::shared_ptr<const Charsmap>> Parse(std::string blob);
  // Most bytes that stand for one of a key of three, which is what the long ones of released maps
  // have (33 bytes for U+FDFA): 1..kMaxValueBytes / 3.
  double growth() const { return growth_; }
  // Longest key that `text` starts with. False when none. `key_bytes` > 0.
  bool LongestPrefix(std::string_view text, size_t& key_bytes, std::string_view& value) const;
  // Shortest key that `text` starts with.
  bool ShortestPrefix(std::string_view text, std::string_view& value) const;

 private:
  template <typename Visit>
  void Walk(std::string_view text, const Visit& visit) const;
  uint32_t Unit(size_t index) const;
  std::string_view Value(uint32_t offset) const;

  std::string blob_;
  size_t num_units_ = 0;
  double growth_ = 1;
};

struct NormalizerStep {
  enum class Kind : uint8_t {
    kNfc,
    kNfd,
    kNfkc,
    kNfkd,
    kLowercase,
    kStripAccents,
    kNmt,
    kByteLevel,
    kPrepend,        // content
    kReplace,        // matcher, content
    kStrip,          // left, right
    kBert,           // clean_text, chinese_chars, strip_accents, lowercase
    kPrecompiled,    // charsmap, by grapheme as the HF library applies it
    kSentencePiece,  // charsmap (may be null) and the fields below, as SentencePiece applies them
  };
  Kind kind = Kind::kNfc;
  std::string content;
  std::shared_ptr<const PatternMatcher> matcher;
  std::shared_ptr<const Charsmap> charsmap;
  bool left = true, right = true;
  bool clean_text = true, chinese_chars = true, strip_accents = true, lowercase = true;
  bool add_dummy_prefix = true, remove_extra_whitespaces = true, escape_whitespaces = true;
  bool whitespace_as_suffix = false;
  std::shared_ptr<const ByteTrie> user_defined;  // copied as they are
};

class Normalizer {
 public:
  Normalizer() = default;
  explicit Normalizer(std::vector<NormalizerStep> steps) : steps_(std::move(steps)) {}
  bool empty() const { return steps_.empty(); }
  // `text` is valid UTF-8. `track` fills origin. Linear time.
  NormalizedText Run(std::string_view text, bool track) const;
  const std::vector<NormalizerStep>& steps() const { return steps_; }

 private:
  std::vector<NormalizerStep> steps_;
};

}  // namespace rill::text
