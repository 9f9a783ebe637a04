// TextStream: output ids in, text out. Joins UTF-8 characters, leaves control tokens out, holds
// back what might be the start of a stop string, and says when one was complete.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "text/stop_strings.h"
#include "text/tokenizer.h"

namespace rill::llm {

class TextStream {
 public:
  // Stop strings are not looked for in the text of the first `min_tokens` tokens.
  // `stop` may be null, and is shared with all others of a request.
  TextStream(std::shared_ptr<const text::Tokenizer> tokenizer,
             std::shared_ptr<const text::StopStrings> stop, bool show_special,
             int32_t min_tokens = 0);

  // What stands before the answer: read, but neither returned nor searched for stop strings.
  void Skip(int32_t token_id) { (void)detokenizer_.Push(token_id); }
  // Text that is certain now. After stopped() nothing more comes.
  std::string Push(int32_t token_id);
  // What was held back.
  std::string Finish();
  bool stopped() const { return matcher_.stopped(); }
  std::string_view stop_string() const { return matcher_.matched(); }

 private:
  text::IncrementalDetokenizer detokenizer_;
  text::StopStringMatcher matcher_;
  int32_t unmatched_tokens_;  // still to come
};

}  // namespace rill::llm
