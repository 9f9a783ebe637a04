#include "text/tokenizer.h"

#include <algorithm>

#include "base/utf8.h"
#include "text/token_decoder.h"

namespace rill::text {
namespace {

// Ill-formed parts become U+FFFD; the trusted runs move with the bytes.
MarkedText Sanitize(const MarkedText& in) {
  MarkedText out;
  out.text.reserve(in.text.size() + 16);
  std::vector<size_t> borders;  // positions of run borders, ascending
  for (const TextRun& run : in.trusted) {
    borders.push_back(run.begin);
    borders.push_back(run.end);
  }
  std::vector<size_t> moved;
  const std::string_view text = in.text;
  for (size_t pos = 0; pos < text.size();) {
    while (moved.size() < borders.size() && borders[moved.size()] <= pos) {
      moved.push_back(out.text.size());
    }
    const DecodedRune rune = DecodeUtf8(text.substr(pos));
    AppendUtf8(out.text, rune.valid ? rune.rune : U'\uFFFD');
    pos += rune.size;
  }
  while (moved.size() < borders.size()) moved.push_back(out.text.size());
  for (size_t i = 0; i + 1 < moved.size(); i += 2) {
    if (moved[i] < moved[i + 1]) out.trusted.push_back({moved[i], moved[i + 1]});
  }
  return out;
}

void PushId(const Tokenizer& tokenizer, DecodeStream& stream, int32_t id,
            std::optional<std::string_view> text, bool skip_special, std::string& out) {
  if (skip_special && tokenizer.IsSpecial(id)) return;
  if (text) {
    stream.Push(id, *text, out);
  } else if (id < 0 || id >= tokenizer.vocab_size()) {
    stream.Push(-1, "\xEF\xBF\xBD", out);
  }
}

}  // namespace

std::vector<int32_t> Tokenizer::Encode(std::string_view text, const EncodeOptions& options) const {
  std::string copy(text);
  return Encode(options.parse_special ? MarkedText::Trusted(std::move(copy))
                                      : MarkedText::Untrusted(std::move(copy)),
                options.add_special);
}

std::vector<int32_t> Tokenizer::Encode(const MarkedText& text, bool add_special) const {
  std::vector<int32_t> ids;
  if (IsValidUtf8(text.text)) {
    EncodeTo(text, add_special, ids);
  } else {
    EncodeTo(Sanitize(text), add_special, ids);
  }
  return ids;
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, const DecodeOptions& options) const {
  const std::unique_ptr<DecodeStream> stream = StartDecoding();
  std::string out;
  for (const int32_t id : ids) {
    PushId(*this, *stream, id, DecoderText(id), options.skip_special, out);
  }
  stream->Finish(out);
  return out;
}

struct IncrementalDetokenizer::State {
  std::shared_ptr<const Tokenizer> tokenizer;
  DecodeOptions options;
  std::unique_ptr<DecodeStream> stream;
};

IncrementalDetokenizer::IncrementalDetokenizer(std::shared_ptr<const Tokenizer> tokenizer,
                                               DecodeOptions options)
    : state_(std::make_unique<State>()) {
  state_->stream = tokenizer->StartDecoding();
  state_->tokenizer = std::move(tokenizer);
  state_->options = options;
}
IncrementalDetokenizer::~IncrementalDetokenizer() = default;
IncrementalDetokenizer::IncrementalDetokenizer(IncrementalDetokenizer&&) noexcept = default;

std::string IncrementalDetokenizer::Push(int32_t id) {
  std::string out;
  PushId(*state_->tokenizer, *state_->stream, id, state_->tokenizer->DecoderText(id),
         state_->options.skip_special, out);
  return out;
}

std::string IncrementalDetokenizer::Finish() {
  std::string out;
  state_->stream->Finish(out);
  return out;
}

}  // namespace rill::text
