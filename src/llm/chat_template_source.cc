#include "llm/chat_template_source.h"

#include "base/json.h"

namespace rill::llm {
namespace {

constexpr size_t kMaxTemplateBytes = 4u << 20;
constexpr size_t kMaxTokenizerConfigBytes = 64u << 20;

Status NoTemplate(const io::ModelSource& source) {
  return NotFound(source.path + ": the model has no chat template");
}

// chat_template of a JSON side file, which is a string or a list of named ones.
Result<std::string> FromJsonMember(const io::ModelSource& source, const Json& json,
                                   const std::string& file) {
  const Json* member = json.Find("chat_template");
  if (!member || member->is_null()) return NoTemplate(source);
  if (member->is_string()) return member->string_value();
  if (member->is_array()) {
    const std::string* first = nullptr;
    for (const Json& entry : member->array()) {
      const Json* name = entry.Find("name");
      const Json* text = entry.Find("template");
      if (!name || !text || !name->is_string() || !text->is_string()) continue;
      if (name->string_value() == "default") return text->string_value();
      if (!first) first = &text->string_value();
    }
    if (first) return *first;
  }
  return InvalidArgument(source.folder + "/" + file +
                         ": chat_template: expected a string or a list of {name, template}, got " +
                         std::string(member->TypeName()));
}

}  // namespace

Result<std::string> FindChatTemplate(const io::ModelSource& source) {
  if (source.gguf) {
    RILL_ASSIGN_OR_RETURN(const auto text, source.gguf->GetString("tokenizer.chat_template"));
    if (text) return std::string(*text);
    return NoTemplate(source);
  }
  auto plain = source.ReadSideFile("chat_template.jinja", kMaxTemplateBytes);
  if (plain.ok() || plain.status().code() != StatusCode::kNotFound) return plain;
  for (const char* file : {"chat_template.json", "tokenizer_config.json"}) {
    auto text = source.ReadSideFile(file, kMaxTokenizerConfigBytes);
    if (!text.ok()) {
      if (text.status().code() == StatusCode::kNotFound) continue;
      return text.status();
    }
    RILL_ASSIGN_OR_RETURN(const Json json, Json::Parse(*text, source.folder + "/" + file));
    auto found = FromJsonMember(source, json, file);
    if (found.ok() || found.status().code() != StatusCode::kNotFound) return found;
  }
  return NoTemplate(source);
}

}  // namespace rill::llm
