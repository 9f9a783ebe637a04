// rill tokenize / detokenize: text <-> token ids.

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "command.h"
#include "progress.h"

namespace rill::app {
namespace {

constexpr size_t kMaxTextBytes = 256u << 20;

struct TokenizeFlags {
  ModelFlags model;
  std::string text;
  std::string file;
  bool no_special = false;
  bool parse_special = false;
  bool ids_only = false;
};

struct DetokenizeFlags {
  ModelFlags model;
  std::vector<std::string> ids;
  bool skip_special = false;
};

Status Tokenize(TokenizeFlags& flags) {
  flags.model.options.text_only = true;
  std::string text = flags.text;
  if (!flags.file.empty() || text == "-") {
    RILL_ASSIGN_OR_RETURN(text, ReadText(flags.file.empty() ? "-" : flags.file, kMaxTextBytes));
  }
  RILL_RETURN_IF_ERROR(CheckUtf8(text, !flags.file.empty() ? flags.file
                                       : flags.text == "-" ? "stdin"
                                                           : "TEXT"));
  RILL_ASSIGN_OR_RETURN(auto llm, flags.model.Open());
  std::optional<BusyNote> note("tokenizing");
  RILL_ASSIGN_OR_RETURN(const auto ids,
                        llm->Tokenize(text, !flags.no_special, flags.parse_special));
  if (flags.model.json) {
    Json::Array id_array, token_array;
    for (int32_t id : ids) {
      id_array.emplace_back(id);
      token_array.emplace_back(llm->TokenText(id));
    }
    Json out;
    out.Set("ids", std::move(id_array));
    out.Set("tokens", std::move(token_array));
    out.Set("count", Json(static_cast<int64_t>(ids.size())));
    note.reset();
    PrintJson(out);
    return OkStatus();
  }
  std::string out;
  if (flags.ids_only) {
    for (size_t i = 0; i < ids.size(); ++i) out += (i ? " " : "") + std::to_string(ids[i]);
    out += '\n';
  } else {
    for (int32_t id : ids) {
      std::string quoted;
      AppendJsonString(quoted, llm->TokenText(id));
      out += fmt::format("{:>7}  {}\n", id, quoted);
    }
  }
  note.reset();
  WriteText(out);
  return OkStatus();
}

// "[1, 2]", "1 2" and "1,2" are all ids.
Result<std::vector<int32_t>> ParseIds(std::string text) {
  constexpr std::string_view kSpaces = " \n\t\r";
  const size_t begin = text.find_first_not_of(kSpaces);
  if (begin != std::string::npos && text[begin] == '[') {
    RILL_ASSIGN_OR_RETURN(const Json json, Json::Parse(text, "detokenize"));
    return TokenIds(json, "detokenize");
  }
  std::replace(text.begin(), text.end(), ',', ' ');
  std::vector<int32_t> ids;
  size_t at = 0;
  while ((at = text.find_first_not_of(kSpaces, at)) != std::string::npos) {
    const size_t end = std::min(text.find_first_of(kSpaces, at), text.size());
    int32_t value = 0;
    const auto [stop, error] = std::from_chars(text.data() + at, text.data() + end, value);
    if (error != std::errc() || stop != text.data() + end || value < 0) {
      return InvalidArgument("detokenize: expected a token id, got '" + text.substr(at, end - at) +
                             "'");
    }
    ids.push_back(value);
    at = end;
  }
  return ids;
}

Status Detokenize(DetokenizeFlags& flags) {
  flags.model.options.text_only = true;
  std::string words;
  for (const std::string& word : flags.ids) words += word + " ";
  if (flags.ids.empty() || (flags.ids.size() == 1 && flags.ids[0] == "-")) {
    RILL_ASSIGN_OR_RETURN(words, ReadText("-", kMaxTextBytes));
  }
  RILL_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, ParseIds(std::move(words)));
  RILL_ASSIGN_OR_RETURN(auto llm, flags.model.Open());
  RILL_ASSIGN_OR_RETURN(const std::string text, llm->Detokenize(ids, flags.skip_special));
  if (flags.model.json) {
    Json out;
    out.Set("text", text);
    PrintJson(out);
  } else {
    WriteText(text + "\n");
  }
  return OkStatus();
}

}  // namespace

void AddTokenize(CLI::App& app, CommandContext& context) {
  auto flags = std::make_shared<TokenizeFlags>();
  CLI::App* command = app.add_subcommand("tokenize", "Text to token ids");
  command->footer("Example:\n  rill tokenize smollm2 \"Hello world\" --ids");
  flags->model.AddTo(*command);
  command->add_option("TEXT", flags->text, "The text ('-': stdin)");
  command->add_option("-f,--file", flags->file, "Read the text from a file")->check(FileName());
  command->add_flag("--no-special", flags->no_special, "Do not add BOS/EOS");
  command->add_flag("--parse-special", flags->parse_special,
                    "Control tokens written in the text become their ids");
  command->add_flag("--ids", flags->ids_only, "Only the ids, on one line");
  command->callback([flags, &context] {
    const Status status = Tokenize(*flags);
    if (!status.ok()) context.exit_code = ReportError(status, flags->model.json);
  });
}

void AddDetokenize(CLI::App& app, CommandContext& context) {
  auto flags = std::make_shared<DetokenizeFlags>();
  CLI::App* command = app.add_subcommand("detokenize", "Token ids to text");
  command->footer("Example:\n  rill detokenize smollm2 19556 905");
  flags->model.AddTo(*command);
  command->add_option("IDS", flags->ids, "Ids, or a JSON array (none or '-': stdin)");
  command->add_flag("--skip-special", flags->skip_special, "Leave control tokens out");
  command->callback([flags, &context] {
    const Status status = Detokenize(*flags);
    if (!status.ok()) context.exit_code = ReportError(status, flags->model.json);
  });
}

}  // namespace rill::app
