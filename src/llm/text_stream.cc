#include "llm/text_stream.h"

#include <utility>

namespace rill::llm {

TextStream::TextStream(std::shared_ptr<const text::Tokenizer> tokenizer,
                       std::shared_ptr<const text::StopStrings> stop, bool show_special,
                       int32_t min_tokens)
    : detokenizer_(std::move(tokenizer), {.skip_special = !show_special}),
      matcher_(std::move(stop)),
      unmatched_tokens_(min_tokens) {}

std::string TextStream::Push(int32_t token_id) {
  if (unmatched_tokens_ > 0) {
    --unmatched_tokens_;
    return detokenizer_.Push(token_id);
  }
  return matcher_.Push(detokenizer_.Push(token_id));
}

std::string TextStream::Finish() {
  std::string out = matcher_.Push(detokenizer_.Finish());
  return out + matcher_.Finish();
}

}  // namespace rill::llm
