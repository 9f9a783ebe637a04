// TextOffsets: where the text of each token begins in a choice's text, in characters as Python's
// len() counts them. Not all tokens have the text that TokenBytes says: the first one loses its
// space with some tokenizers, and control tokens may not be shown.
// Owner thread: one at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/openai/answer_writer.h"

namespace rill::server::openai {

class TextOffsets {
 public:
  // `options` must outlive this.
  explicit TextOffsets(const AnswerOptions& options) : options_(options) {}

  // Of the tokens of a prompt that is echoed as `echo`, in order; EndPrompt after them. Control
  // tokens that the tokenizer has put around a text do not stand in `echo`.
  int64_t OfPrompt(int32_t id, std::string_view echo);
  void EndPrompt(std::string_view echo);
  // Of the answer's tokens, in order.
  int64_t OfAnswer(const llm::TextToken& token);

 private:
  // Where a token of these bytes begins.
  int64_t Add(std::string_view bytes);
  // Whether the first token that is no control token loses the space that it begins with.
  bool LosesSpace(int32_t id, size_t num_bytes);

  const AnswerOptions& options_;
  int64_t characters_ = 0;     // of the text so far
  size_t bytes_ = 0;           // the same
  std::string held_;           // the start of a character whose rest comes with a later token
  bool has_text_ = false;      // of a token that is no control token
  std::vector<int32_t> lead_;  // tokens that are shown, until has_text_
};

}  // namespace rill::server::openai
