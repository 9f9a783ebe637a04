// rill run MODEL [PROMPT]: one prompt, one answer, streamed.

#include <fmt/format.h>

#include <cstdio>

#include "command.h"
#include "generation.h"
#include "progress.h"
#include "rill/model_store.h"

namespace rill::app {
namespace {

constexpr size_t kMaxPromptBytes = 64u << 20;

struct RunFlags {
  ModelFlags model;
  SamplingFlags sampling;
  std::string prompt;
  CLI::Option* prompt_option = nullptr;
  bool has_prompt = false;  // on the command line
  std::string prompt_file;
  std::string system;
  bool raw = false;
  bool quiet = false;
};

// `rill run "Why?"` and `rill run -`: a lone argument that names no model is the prompt. Whether
// stdin has something plays no part: a script's stdin is often a pipe that nobody writes to.
void SortPositionals(RunFlags& flags) {
  const std::string& word = flags.model.model;
  if (flags.prompt_option->count() > 0 || !flags.prompt_file.empty() || word.empty()) return;
  if (word != "-") {
    // A path that does not exist should say so rather than be asked as a question.
    const bool looks_like_path =
        word.find(' ') == std::string::npos &&
        (word.find('/') != std::string::npos || word.ends_with(".gguf") || word.starts_with("hf:"));
    if (looks_like_path || IsKnownModel(word)) return;
  }
  flags.prompt = word;
  flags.has_prompt = true;
  flags.model.model.clear();
}

Status SystemNeedsTemplate(const std::string& why) {
  return InvalidArgument("--system needs a chat template, " + why);
}

Status Run(RunFlags& flags, int& exit_code) {
  if (flags.raw && !flags.system.empty()) return SystemNeedsTemplate("and --raw uses none");
  std::string prompt = flags.prompt;
  if (!flags.prompt_file.empty()) {
    if (flags.has_prompt) return InvalidArgument("run: PROMPT and --file exclude each other");
    RILL_ASSIGN_OR_RETURN(prompt, ReadText(flags.prompt_file, kMaxPromptBytes));
  } else if (!flags.has_prompt || prompt == "-") {
    RILL_ASSIGN_OR_RETURN(prompt, ReadText("-", kMaxPromptBytes));
  }
  // An empty text can be continued where texts begin with a token of their own.
  if (prompt.empty() && !(flags.raw && flags.has_prompt)) {
    return InvalidArgument("run: the prompt is empty: give PROMPT, --file, or text on stdin");
  }
  RILL_RETURN_IF_ERROR(CheckUtf8(prompt, !flags.prompt_file.empty() ? flags.prompt_file
                                         : flags.has_prompt && flags.prompt != "-" ? "PROMPT"
                                                                                   : "stdin"));
  RILL_RETURN_IF_ERROR(CheckUtf8(flags.system, "--system"));
  RILL_ASSIGN_OR_RETURN(GenerateOptions options, flags.sampling.Finish());
  RILL_ASSIGN_OR_RETURN(auto llm, flags.model.Open());
  if (llm->info().is_encoder) {
    return Unsupported(llm->info().path + ": family " + llm->info().family +
                       " is an encoder: it gives embeddings, not text (see `rill eval logits`)");
  }

  RenderedPrompt rendered;
  // A template that does not compile is an error, not a reason to treat a chat model as a plain
  // one.
  const bool use_template =
      !flags.raw && (llm->info().has_chat_template || !llm->info().chat_template_error.empty());
  if (!use_template && !flags.system.empty()) {
    return SystemNeedsTemplate("and " + llm->info().path + " has none");
  }
  if (use_template) {
    ChatInput chat;
    chat.messages = MakeMessages(flags.system, prompt);
    RILL_ASSIGN_OR_RETURN(rendered, llm->RenderChat(chat));
  } else {
    if (!flags.raw && !flags.quiet && llm->info().has_tokenizer) {
      std::fprintf(stderr, "rill: the model has no chat template: continuing the text as it is\n");
    }
    rendered.text = prompt;
    RILL_ASSIGN_OR_RETURN(rendered.token_ids, llm->Tokenize(prompt, true, flags.raw));
    if (rendered.token_ids.empty()) {
      return InvalidArgument(
          "run: the prompt is empty, and this model has no token that begins a text");
    }
  }

  options.continues_prompt = !use_template;
  ProgressBar bar("reading the prompt", ProgressBar::Unit::kCount);
  options.on_prompt = [&bar](int64_t done, int64_t total) { bar.Update(done, total); };
  InterruptScope interrupt;
  const bool stream = !flags.model.json;
  auto on_text = [&](std::string_view piece) {
    bar.Clear();
    if (stream) WriteText(piece);
  };
  RILL_ASSIGN_OR_RETURN(const GenerateResult result,
                        llm->Generate(rendered.token_ids, options, on_text, interrupt.flag()));
  if (stream) {
    if (!result.text.ends_with('\n')) WriteStdout("\n");
  } else {
    Json out = GenerationJson(rendered.token_ids, result);
    out.Set("model", llm->info().path);
    out.Set("seed", Json(uint64_t{options.sampling.seed.value_or(0)}));
    PrintJson(out);
  }
  if (!flags.quiet) std::fprintf(stderr, "%s\n", StatsLine(llm->info(), result).c_str());
  if (result.finish_reason == "cancelled") exit_code = kExitInterrupted;
  return OkStatus();
}

}  // namespace

void AddRun(CLI::App& app, CommandContext& context) {
  auto flags = std::make_shared<RunFlags>();
  CLI::App* command =
      app.add_subcommand("run", "Answer one prompt. `rill run \"prompt\"` uses the default model");
  command->footer(R"(Examples:
  rill run "Why is the sky blue?"
  rill run smollm2 "Write a haiku about rivers." --temperature 0
  rill run model.gguf --raw "Once upon a time" -n 64
  cat letter.txt | rill run smollm2 --system "Summarise the letter."
The answer goes to stdout, statistics to stderr. Without a prompt on a terminal: see `rill chat`.)");
  flags->model.AddTo(*command, true, false);
  flags->prompt_option =
      command->add_option("PROMPT", flags->prompt, "The user's message ('-' or none: read stdin)");
  command->add_option("-f,--file", flags->prompt_file, "Read the prompt from a file")
      ->check(FileName());
  command->add_option("--system", flags->system,
                      "System message (default: the template's own, if it has one)");
  command->add_flag("--raw", flags->raw,
                    "No chat template: continue the text; control tokens in it count");
  command->add_flag("-q,--quiet", flags->quiet, "No statistics");
  flags->sampling.AddTo(*command);
  command->callback([flags, &context] {
    flags->has_prompt = flags->prompt_option->count() > 0;
    SortPositionals(*flags);
    if (!flags->has_prompt && flags->prompt_file.empty() && StdinIsTerminal()) {
      if (flags->raw) {
        context.exit_code = ReportError(
            InvalidArgument("--raw needs PROMPT or --file: a chat uses the chat template"),
            flags->model.json);
        return;
      }
      context.exit_code = ChatMain(flags->model, flags->sampling, flags->system);
      return;
    }
    const Status status = Run(*flags, context.exit_code);
    if (!status.ok()) context.exit_code = ReportError(status, flags->model.json);
  });
}

}  // namespace rill::app
