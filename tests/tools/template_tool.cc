// Chat templates over JSON lines, for tests/oracle/test_templates.py.
//
// in:  {"template": source} sets the template of the lines that follow;
//      {"messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token",
//       "extra", "now"} renders it.
// out: one line for each: {"ok": true}, {"text": …, "trusted": [[begin, end], …]} (bytes) or
//      {"error": …, "code": …}.
#include <iostream>
#include <memory>
#include <string>

#include "rill/json.h"
#include "text/chat_template.h"

namespace {

using rill::Json;
using rill::Status;

Json ErrorJson(const Status& status) {
  Json out;
  out.Set("error", status.message());
  out.Set("code", rill::StatusCodeName(status.code()));
  return out;
}

Json Member(const Json& json, std::string_view key) {
  const Json* found = json.Find(key);
  return found == nullptr ? Json() : *found;
}

std::string Text(const Json& json, std::string_view key) {
  const Json* found = json.Find(key);
  return found != nullptr && found->is_string() ? found->string_value() : std::string();
}

Json Render(const rill::text::ChatTemplate& chat_template, const Json& line) {
  rill::text::TemplateInput input;
  input.messages = Member(line, "messages");
  input.tools = Member(line, "tools");
  input.documents = Member(line, "documents");
  input.extra = Member(line, "extra");
  input.bos_token = Text(line, "bos_token");
  input.eos_token = Text(line, "eos_token");
  const Json prompt = Member(line, "add_generation_prompt");
  input.add_generation_prompt = prompt.is_bool() && prompt.bool_value();
  const Json now = Member(line, "now");
  if (now.is_int()) input.now_unix_s = now.int_value();
  auto result = chat_template.Render(input);
  if (!result.ok()) return ErrorJson(result.status());
  Json out;
  out.Set("text", result->text);
  Json::Array runs;
  for (const auto& run : result->trusted) {
    runs.push_back(Json::Array{static_cast<uint64_t>(run.begin), static_cast<uint64_t>(run.end)});
  }
  out.Set("trusted", std::move(runs));
  return out;
}

}  // namespace

int main() {
  std::ios::sync_with_stdio(false);
  std::shared_ptr<const rill::text::ChatTemplate> current;
  Status broken = rill::FailedPrecondition("no template yet");
  std::string text;
  while (std::getline(std::cin, text)) {
    auto line = Json::Parse(text, "stdin");
    Json out;
    if (!line.ok()) {
      out = ErrorJson(line.status());
    } else if (line->Find("template") != nullptr) {
      auto compiled = rill::text::ChatTemplate::Compile(Text(*line, "template"), "template");
      current = compiled.ok() ? compiled.value() : nullptr;
      broken = compiled.status();
      out = compiled.ok() ? Json(Json::Object{{"ok", true}}) : ErrorJson(broken);
    } else {
      out = current != nullptr ? Render(*current, *line) : ErrorJson(broken);
    }
    std::cout << out.Dump() << "\n" << std::flush;
  }
  return 0;
}
