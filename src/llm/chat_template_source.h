// Where a model keeps its chat template.
#pragma once

#include <string>

#include "io/model_source.h"
#include "rill/status.h"

namespace rill::llm {

// GGUF: tokenizer.chat_template. Hugging Face folder: chat_template.jinja, chat_template.json, or
// chat_template in tokenizer_config.json (a string, or a list of {name, template}: "default", else
// the first). Errors: kNotFound when there is none; kInvalidArgument when it is malformed.
Result<std::string> FindChatTemplate(const io::ModelSource& source);

}  // namespace rill::llm
