// PreTokenizer: cuts a text into the pieces that the token model encodes one by one.
//
// Steps run in order, each on every piece that the step before left. They are the pre-tokenizers of
// the Hugging Face `tokenizers` library, and mean the same.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/pattern_matcher.h"

namespace rill::text {

enum class SplitBehavior : uint8_t {
  kRemoved,             // matches are dropped
  kIsolated,            // each match is a piece
  kMergedWithPrevious,  // a match ends the piece before it
  kMergedWithNext,      // a match starts the piece after it
  kContiguous,          // neighbouring matches are one piece
};

enum class PrependScheme : uint8_t { kNever, kFirst, kAlways };

struct PreTokenizerStep {
  enum class Kind : uint8_t {
    kSplit,        // matcher, behavior, invert
    kByteLevel,    // add_prefix_space, use_regex; then bytes become the 256 printable stand-ins
    kMetaspace,    // replacement, prepend_scheme, split
    kSplitRunes,   // rune_class, behavior
    kFixedLength,  // length in characters
  };
  enum class RuneClass : uint8_t { kWhiteSpace, kPunctuation, kNumber, kDelimiter };

  Kind kind = Kind::kSplit;
  std::shared_ptr<const PatternMatcher> matcher;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;
  bool add_prefix_space = false;
  bool use_regex = true;
  std::string replacement = "\xE2\x96\x81";  // U+2581
  PrependScheme prepend_scheme = PrependScheme::kAlways;
  bool split = true;
  RuneClass rune_class = RuneClass::kWhiteSpace;
  char32_t delimiter = U' ';
  size_t length = 0;
};

// Pieces are non-empty ranges of `text`, which is the input or `storage`.
struct PieceList {
  std::string_view text;
  std::string storage;
  std::vector<std::pair<size_t, size_t>> ranges;
};

class PreTokenizer {
 public:
  PreTokenizer() = default;
  explicit PreTokenizer(std::vector<PreTokenizerStep> steps) : steps_(std::move(steps)) {}

  // True when the last step is ByteLevel and the caller may take raw bytes instead of stand-ins:
  // SkipByteMapping() then leaves the mapping out.
  bool EndsInByteLevel() const;
  void SkipByteMapping();

  // `at_text_start`: this text starts where the whole input starts (for prepend_scheme first).
  // `out.text` may point into `text`, which must outlive it. Valid UTF-8 in; pieces are valid
  // UTF-8 as long as no step cuts inside a character (none does).
  void Run(std::string_view text, bool at_text_start, PieceList& out) const;

  const std::vector<PreTokenizerStep>& steps() const { return steps_; }

 private:
  std::vector<PreTokenizerStep> steps_;
  bool map_last_bytes_ = true;
};

}  // namespace rill::text
