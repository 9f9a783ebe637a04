#include "llm/text_stream.h"

#include <utility>

namespace rill::llm {

TextStream::TextStream(std::shared_ptr<const text::Tokenizer> tokenizer,
                       std::vector<std::string> stop, bool show_special)
    : detokenizer_(std::move(tokenizer), {.skip_special = !show_special}),
      matcher_(std::move(stop)) {}

std::string TextStream::Push(int32_t token_id) {
  return matcher_.Push(detokenizer_.Push(token_id));
}

std::string TextStream::Finish() {
  std::string out = matcher_.Push(detokenizer_.Finish());
  return out + matcher_.Finish();
}

}  // namespace rill::llm
