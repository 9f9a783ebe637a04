// rill render: a conversation through the model's chat template.

#include "command.h"

namespace rill::app {
namespace {

struct RenderFlags {
  ModelFlags model;
  std::string messages;
  std::string tools;
  std::string extra;
  bool no_generation_prompt = false;
};

Result<Json> ReadJson(const std::string& path) {
  constexpr size_t kMaxBytes = 64u << 20;
  RILL_ASSIGN_OR_RETURN(const std::string text, ReadText(path, kMaxBytes));
  return Json::Parse(text, path == "-" ? "stdin" : path);
}

Status Render(RenderFlags& flags) {
  flags.model.options.text_only = true;
  ChatInput input;
  RILL_ASSIGN_OR_RETURN(Json messages, ReadJson(flags.messages));
  // Either the array itself or a request body that holds it.
  if (const Json* inner = messages.Find("messages")) {
    input.messages = *inner;
    if (const Json* tools = messages.Find("tools")) input.tools = *tools;
  } else {
    input.messages = std::move(messages);
  }
  if (!input.messages.is_array()) {
    return InvalidArgument(flags.messages + ": expected an array of messages, got " +
                           std::string(input.messages.TypeName()));
  }
  if (!flags.tools.empty()) {
    RILL_ASSIGN_OR_RETURN(input.tools, ReadJson(flags.tools));
    if (!input.tools.is_array()) {
      return InvalidArgument(flags.tools + ": expected an array of tools, got " +
                             std::string(input.tools.TypeName()));
    }
  }
  if (!flags.extra.empty()) {
    RILL_ASSIGN_OR_RETURN(input.extra, Json::Parse(flags.extra, "--vars"));
  }
  input.add_generation_prompt = !flags.no_generation_prompt;
  RILL_ASSIGN_OR_RETURN(auto llm, flags.model.Open());
  RILL_ASSIGN_OR_RETURN(const RenderedPrompt prompt, llm->RenderChat(input));
  if (flags.model.json) {
    Json::Array ids;
    for (int32_t id : prompt.token_ids) ids.emplace_back(id);
    Json out;
    out.Set("text", prompt.text);
    out.Set("ids", std::move(ids));
    PrintJson(out);
  } else {
    WriteText(prompt.text);
    if (StdoutIsTerminal() && !prompt.text.ends_with('\n')) WriteStdout("\n");
  }
  return OkStatus();
}

}  // namespace

void AddRender(CLI::App& app, CommandContext& context) {
  auto flags = std::make_shared<RenderFlags>();
  CLI::App* command = app.add_subcommand("render", "A conversation through the chat template");
  command->footer(
      "Example:\n  echo '[{\"role\":\"user\",\"content\":\"Hi\"}]' | rill render smollm2 "
      "--messages -");
  flags->model.AddTo(*command);
  command->add_option("--messages", flags->messages, "JSON array of messages ('-': stdin)")
      ->check(FileName())
      ->required();
  command->add_option("--tools", flags->tools, "JSON array of tool definitions")->check(FileName());
  command->add_option("--vars", flags->extra, "JSON object: further template variables");
  command->add_flag("--no-generation-prompt", flags->no_generation_prompt,
                    "Do not open the assistant's turn");
  command->callback([flags, &context] {
    const Status status = Render(*flags);
    if (!status.ok()) context.exit_code = ReportError(status, flags->model.json);
  });
}

}  // namespace rill::app
