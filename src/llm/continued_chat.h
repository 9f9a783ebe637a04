// A conversation whose last message the answer goes on (continue_final_message): its text up to
// the end of that message. Any thread.
#pragma once

#include <functional>

#include "rill/llm.h"
#include "text/marked_text.h"

namespace rill::llm {

using RenderChat = std::function<Result<text::MarkedText>(const ChatInput&)>;

// `render` with what the template puts after the last message's content (an end-of-turn token) cut
// off. As transformers does it: a mark that occurs nowhere else is rendered behind the content, and
// the text ends before it; where the template has stripped the mark, white space in front of it
// goes too.
// Errors: kInvalidArgument when the last message has no text or the template does not show it as
// it is; those of `render`.
Result<text::MarkedText> RenderContinued(ChatInput chat, const RenderChat& render);

}  // namespace rill::llm
