#include "llm/chat_templates.h"

#include <optional>
#include <utility>

#include "base/utf8.h"
#include "llm/chat_template_source.h"

namespace rill::llm {

Result<std::shared_ptr<const ChatTemplates>> ChatTemplates::Load(const io::ModelSource& source,
                                                                 const text::Tokenizer& tokenizer) {
  RILL_ASSIGN_OR_RETURN(ChatTemplateSource found, FindChatTemplates(source));
  auto out = std::make_shared<ChatTemplates>();
  Status why;
  bool any = false;
  for (auto& [name, text] : found.templates) {
    out->names_ += (out->names_.empty() ? "" : ", ") + PrintableUtf8(name, 80);
    if (name != kDefaultTemplate && name != kToolTemplate) continue;
    const std::string culprit =
        std::string("chat template") + (found.templates.size() > 1 ? " '" + name + "'" : "");
    auto program = text::ChatTemplate::Compile(text, culprit);
    any |= program.ok();
    if (!program.ok() && why.ok()) why = program.status();
    out->templates_.emplace(name, Compiled{std::move(text), std::move(program)});
  }
  if (!any) return (why.ok() ? out->status() : why).WithPrefix(source.path);
  const auto token_text = [&tokenizer](std::optional<int32_t> id) {
    return id ? tokenizer.TokenText(*id) : std::string();
  };
  if (!found.no_bos_token) out->bos_token_ = token_text(tokenizer.bos_id());
  if (!found.no_eos_token) out->eos_token_ = token_text(tokenizer.eos_id());
  return std::shared_ptr<const ChatTemplates>(std::move(out));
}

Result<const text::ChatTemplate*> ChatTemplates::Choose(bool has_tools) const {
  auto chosen = has_tools ? templates_.find(kToolTemplate) : templates_.end();
  if (chosen == templates_.end()) chosen = templates_.find(kDefaultTemplate);
  if (chosen == templates_.end()) {
    return Unsupported(std::string("no chat template is named 'default'") +
                       (has_tools ? " or 'tool_use'" : "") + "; there are: " + names_);
  }
  if (!chosen->second.program.ok()) return chosen->second.program.status();
  return chosen->second.program->get();
}

Status ChatTemplates::status() const {
  return Choose(false).status();
}

Result<text::MarkedText> ChatTemplates::Render(const ChatInput& input) const {
  RILL_ASSIGN_OR_RETURN(const text::ChatTemplate* program, Choose(!input.tools.is_null()));
  text::TemplateInput variables;
  variables.messages = input.messages;
  variables.tools = input.tools;
  variables.documents = input.documents;
  variables.extra = input.extra;
  variables.untrusted_extra = input.untrusted_extra;
  variables.add_generation_prompt = input.add_generation_prompt;
  variables.bos_token = bos_token_;
  variables.eos_token = eos_token_;
  return program->Render(variables);
}

std::string ChatTemplates::source() const {
  auto chosen = templates_.find(kDefaultTemplate);
  if (chosen == templates_.end()) chosen = templates_.find(kToolTemplate);
  return chosen == templates_.end() ? std::string() : chosen->second.source;
}

std::string ChatTemplates::all_sources() const {
  std::string out;
  for (const auto& [name, compiled] : templates_) out += compiled.source + "\n";
  return out;
}

}  // namespace rill::llm
