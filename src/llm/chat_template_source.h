// Where a model keeps its chat templates.
#pragma once

#include <map>
#include <string>

#include "io/model_source.h"
#include "rill/status.h"

namespace rill::llm {

struct ChatTemplateSource {
  // Jinja sources by name; a single template is "default". Those of additional_chat_templates/
  // that no chat ever chooses ("default" and "tool_use" are chosen) are named without their text.
  std::map<std::string, std::string> templates;
  // tokenizer_config.json says null: the variable is undefined, whatever id config.json has.
  bool no_bos_token = false;
  bool no_eos_token = false;
};

// GGUF: tokenizer.chat_template, and tokenizer.chat_template.NAME. Hugging Face folder:
// chat_template.jinja with additional_chat_templates/NAME.jinja; else chat_template.json; else
// chat_template in tokenizer_config.json. In JSON it is a string or a list of {name, template}.
// Errors: kNotFound when there is none; kInvalidArgument when it is malformed.
Result<ChatTemplateSource> FindChatTemplates(const io::ModelSource& source);

}  // namespace rill::llm
