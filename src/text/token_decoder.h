// TokenDecoder: from token texts back to text, token by token.
//
// Steps are the decoders of the Hugging Face `tokenizers` library and SentencePiece's own. Each is
// a small machine that takes tokens one at a time, so that decoding a stream and decoding all at
// once are the same code.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/pattern_matcher.h"
#include "text/pretokenizer.h"

namespace rill::text {

enum class SpmPieceType : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

struct DecoderStep {
  enum class Kind : uint8_t {
    kByteLevel,     // GPT-2 stand-ins to bytes; joins all tokens
    kMetaspace,     // replacement, prepend_scheme
    kWordPiece,     // content = prefix ("##"), cleanup
    kBpe,           // content = end-of-word suffix
    kByteFallback,  // runs of <0xXX> to bytes; a run that is no valid UTF-8 gives one U+FFFD a byte
    kFuse,          // joins all tokens
    kStrip,         // content (one character), start, stop
    kReplace,       // matcher, content
    kCtc,           // pad, delimiter, cleanup
    kSentencePiece,  // piece_types, content = surface of unknown, strip_leading_space
  };
  Kind kind = Kind::kFuse;
  std::string content;
  std::string replacement = "\xE2\x96\x81";
  PrependScheme prepend_scheme = PrependScheme::kAlways;
  bool cleanup = true;
  size_t start = 0, stop = 0;
  std::shared_ptr<const PatternMatcher> matcher;
  std::string pad, delimiter;
  std::vector<SpmPieceType> piece_types;
  bool strip_leading_space = true;
  bool strip_all_leading_space = false;
};

// One decoding in progress.
class DecodeStream {
 public:
  virtual ~DecodeStream() = default;
  // Appends to `out` what is certain after this token: whole UTF-8 characters.
  virtual void Push(int32_t id, std::string_view token_text, std::string& out) = 0;
  virtual void Finish(std::string& out) = 0;
};

class TokenDecoder {
 public:
  TokenDecoder() = default;
  explicit TokenDecoder(std::vector<DecoderStep> steps) : steps_(std::move(steps)) {}
  // The stream must not outlive the decoder. Without steps, tokens are joined by spaces.
  std::unique_ptr<DecodeStream> Start() const;
  // Bytes that this token adds when it is not the first.
  std::string TokenBytes(int32_t id, std::string_view token_text) const;
  const std::vector<DecoderStep>& steps() const { return steps_; }

 private:
  std::vector<DecoderStep> steps_;
};

}  // namespace rill::text
