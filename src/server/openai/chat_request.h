// The body of POST /v1/chat/completions.
#pragma once

#include <optional>

#include "rill/llm.h"
#include "server/openai/generation_params.h"

namespace rill::server::openai {

struct ChatRequest {
  GenerationParams params;
  ChatInput chat;  // messages as the template wants them: see NormaliseMessages
  bool continue_final_message = false;
  bool add_special = false;  // besides those that the template writes
  bool logprobs = false;
};

// Fills `out`; errors are left in `reader`.
void ReadChatRequest(FieldReader& reader, const ParseLimits& limits, ChatRequest& out);
// The same of a whole body, which must be an object: what is wrong, if anything.
std::optional<ApiError> ParseChatRequest(const Json& body, const ParseLimits& limits,
                                         ChatRequest& out);

// Checks a messages array and turns it into what chat templates read: an array of text parts
// becomes one string (joined by newlines), "developer" becomes "system", arguments of tool calls
// become objects. Fields of unknown names go through to the template.
// `required` is for the schema alone.
bool NormaliseMessages(FieldReader& reader, const ParseLimits& limits, Json& out,
                       bool required = true);

// add_generation_prompt, continue_final_message, chat_template_kwargs, documents, and the refusal
// of chat_template.
void ReadTemplateFields(FieldReader& reader, const ParseLimits& limits, ChatInput& chat,
                        bool& continue_final_message);

// The names that a Jinja template's source mentions: letters, digits and underscores, at most 64
// bytes each.
std::vector<std::string> TemplateWords(std::string_view source);

}  // namespace rill::server::openai
