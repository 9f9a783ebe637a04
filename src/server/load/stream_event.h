// One event of a streamed answer, as any server with OpenAI's API may write it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "rill/json.h"

namespace rill::server {

struct StreamEvent {
  std::string error;           // not empty: the request has failed, for this reason
  bool has_text = false;       // the first choice got a piece of text
  bool has_empty = false;      // or an empty one that is neither its head (a role) nor its end
  int64_t output_tokens = -1;  // of its usage; -1: not told
  int64_t prompt_tokens = -1;
};

// `data`: an event's data, other than [DONE]. What cannot be read is an error of the event.
StreamEvent ReadStreamEvent(std::string_view data);

// What an "error" member says: {"message": "…"} as OpenAI has it, a string as Ollama has it, else
// its JSON. At most 200 bytes, without control characters.
std::string ErrorText(const Json& error);

}  // namespace rill::server
