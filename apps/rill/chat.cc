// rill chat: a conversation on the terminal, with line editing and history.

#include <fmt/format.h>

#include <cstdio>

#include "command.h"
#include "generation.h"
#include "line_reader.h"
#include "progress.h"

namespace rill::app {
namespace {

constexpr const char* kHelp =
    "  /system TEXT   set the system message (and start over); /system alone shows it\n"
    "  /reset         forget the conversation, keep the system message\n"
    "  /save FILE     write the conversation as JSON messages (for `rill render --messages`)\n"
    "  /help, /exit   this list; leave (also Ctrl-D)\n"
    "  A line that ends with \\ goes on; \"\"\" opens and closes a text of several lines.\n"
    "  A pasted text is one message, whatever lines it has; Enter sends it.\n"
    "  Ctrl-C stops the answer, not the program.\n";

// A message of one or several lines.
LineReader::Outcome ReadMessage(LineReader& reader, std::string& message) {
  message.clear();
  bool quoted = false;
  InterruptScope interrupt;  // one for all lines: a Ctrl-C between two of them is for the message
  while (true) {
    std::string line;
    const char* prompt = message.empty() && !quoted ? "> " : "… ";
    const auto outcome = reader.Read(prompt, interrupt, line);
    if (outcome != LineReader::Outcome::kLine) {
      if (outcome == LineReader::Outcome::kEnd && !message.empty())
        return LineReader::Outcome::kLine;
      return outcome;
    }
    if (quoted) {
      if (line.ends_with("\"\"\"")) {
        message += line.substr(0, line.size() - 3);
        return LineReader::Outcome::kLine;
      }
      message += line + "\n";
    } else if (message.empty() && line.starts_with("\"\"\"")) {
      quoted = true;
      line.erase(0, 3);
      if (line.ends_with("\"\"\"")) {
        message = line.substr(0, line.size() - 3);
        return LineReader::Outcome::kLine;
      }
      if (!line.empty()) message = line + "\n";
    } else if (line.ends_with('\\')) {
      line.pop_back();
      message += line + "\n";
    } else {
      message += line;
      return LineReader::Outcome::kLine;
    }
  }
}

Json Message(const char* role, const std::string& content) {
  Json message;
  message.Set("role", role);
  message.Set("content", content);
  return message;
}

class Conversation {
 public:
  Conversation(Llm& llm, const SamplingFlags& sampling, std::string system, bool json)
      : llm_(llm), sampling_(sampling), system_(std::move(system)), json_(json) {}

  Status HandleCommand(const std::string& line, bool& leave) {
    const size_t space = line.find(' ');
    const std::string name = line.substr(0, space);
    const std::string rest = space == std::string::npos ? "" : line.substr(space + 1);
    if (name == "/exit" || name == "/quit" || name == "/bye") {
      leave = true;
    } else if (name == "/reset") {
      turns_.clear();
    } else if (name == "/system") {
      if (rest.empty()) {
        WriteText((system_.empty() ? "(the template's own)" : system_) + "\n");
      } else {
        system_ = rest;
        turns_.clear();
      }
    } else if (name == "/save") {
      return rest.empty() ? InvalidArgument("/save: name a file")
                          : WriteFileAtomically(rest, Messages().Dump(2) + "\n");
    } else {
      if (name != "/help") std::fprintf(stderr, "rill: no command %s\n", ForTerminal(name).c_str());
      std::fputs(kHelp, stderr);
    }
    return OkStatus();
  }

  Status Answer(const std::string& text) {
    turns_.push_back(Message("user", text));
    ChatInput input;
    input.messages = Messages();
    auto generated = Generate(input);
    if (!generated.ok()) {
      turns_.pop_back();  // the next try starts from what worked
      const Status status = generated.status();
      if (status.code() != StatusCode::kResourceExhausted || turns_.empty()) return status;
      return ResourceExhausted(status.message() + "; /reset forgets the conversation");
    }
    turns_.push_back(Message("assistant", generated->text));
    return OkStatus();
  }

 private:
  Json Messages() const {
    Json::Array messages;
    if (!system_.empty()) messages.push_back(Message("system", system_));
    messages.insert(messages.end(), turns_.begin(), turns_.end());
    return messages;
  }

  Result<GenerateResult> Generate(const ChatInput& input) {
    // From the question's last line on, a Ctrl-C means this answer.
    InterruptScope interrupt(InterruptScope::Earlier::kKeep);
    RILL_ASSIGN_OR_RETURN(const RenderedPrompt prompt, llm_.RenderChat(input));
    RILL_ASSIGN_OR_RETURN(GenerateOptions options, sampling_.Finish());
    ProgressBar bar("reading the prompt", ProgressBar::Unit::kCount);
    options.on_prompt = [&bar](int64_t done, int64_t total) { bar.Update(done, total); };
    auto on_text = [&](std::string_view piece) {
      bar.Clear();
      if (!json_) WriteText(piece);
    };
    RILL_ASSIGN_OR_RETURN(GenerateResult result,
                          llm_.Generate(prompt.token_ids, options, on_text, interrupt.flag()));
    if (json_) {
      PrintJson(GenerationJson(prompt.token_ids, result));
    } else {
      WriteStdout(result.finish_reason == "cancelled" ? " [stopped]\n" : "\n");
      if (StderrIsTerminal()) {
        std::fprintf(stderr, "\x1b[2m%s\x1b[0m\n", StatsLine(llm_.info(), result).c_str());
      }
    }
    return result;
  }

  Llm& llm_;
  const SamplingFlags& sampling_;
  std::string system_;
  bool json_;
  Json::Array turns_;
};

// `exit_code`: of the last message that failed, when nobody at a terminal has seen it fail.
Status Chat(const ModelFlags& model, const SamplingFlags& sampling, const std::string& system,
            int& exit_code) {
  // Wrong flags fail here once, not at each message; what needs no model, before it is loaded.
  RILL_RETURN_IF_ERROR(sampling.Finish().status());
  RILL_ASSIGN_OR_RETURN(auto llm, model.Open());
  RILL_RETURN_IF_ERROR(sampling.Finish(llm->info().vocab_size).status());
  if (!llm->info().chat_template_error.empty()) {
    return Unsupported(llm->info().chat_template_error);
  }
  if (!llm->info().has_chat_template) {
    return Unsupported(llm->info().path +
                       ": the model has no chat template; continue a text with `rill run --raw`");
  }
  // Between questions and answers too, a Ctrl-C is no death.
  InterruptScope keep_running(InterruptScope::Second::kStopsAnswer);
  LineReader reader;
  if (reader.terminal()) {
    std::fprintf(
        stderr, "%s, %s. /help lists commands, Ctrl-D leaves.\n",
        ForTerminal(llm->info().name.empty() ? llm->info().path : llm->info().name).c_str(),
        llm->info().backend.c_str());
  }
  Conversation conversation(*llm, sampling, system, model.json);
  std::string message;
  while (true) {
    const auto outcome = ReadMessage(reader, message);
    if (outcome == LineReader::Outcome::kEnd) return OkStatus();
    if (outcome == LineReader::Outcome::kInterrupted || message.empty()) continue;
    bool leave = false;
    const Status status = message.starts_with('/') ? conversation.HandleCommand(message, leave)
                                                   : conversation.Answer(message);
    // A question that does not fit ends that question, not the conversation.
    if (!status.ok()) {
      const int code = ReportError(status, model.json);
      if (!StdinIsTerminal()) exit_code = code;
    }
    if (leave) return OkStatus();
  }
}

}  // namespace

int ChatMain(const ModelFlags& model, const SamplingFlags& sampling, const std::string& system) {
  int exit_code = kExitOk;
  const Status status = Chat(model, sampling, system, exit_code);
  return status.ok() ? exit_code : ReportError(status, model.json);
}

void AddChat(CLI::App& app, CommandContext& context) {
  struct ChatFlags {
    ModelFlags model;
    SamplingFlags sampling;
    std::string system;
  };
  auto flags = std::make_shared<ChatFlags>();
  CLI::App* command = app.add_subcommand("chat", "Talk with a model");
  command->footer(
      std::string("In the conversation:\n") + kHelp +
      "Lines piped into stdin are messages, one each; the exit code is then that of the "
      "last one that\nfailed.");
  flags->model.AddTo(*command, true, false);
  command->add_option("--system", flags->system,
                      "System message (default: the template's own, if it has one)");
  flags->sampling.AddTo(*command);
  command->callback([flags, &context] {
    context.exit_code = ChatMain(flags->model, flags->sampling, flags->system);
  });
}

}  // namespace rill::app
