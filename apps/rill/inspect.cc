// rill inspect: what is in a model, what it will need, which kernels will run.

#include <fmt/format.h>

#include <algorithm>

#include "command.h"
#include "progress.h"

namespace rill::app {
namespace {

struct InspectFlags {
  ModelFlags model;
  bool all_metadata = false;
  bool tensors = false;
  bool plan = false;
};

std::string Scalar(const Json& value) {
  if (value.is_string()) {  // one line each: a newline in a name must not look like another entry
    std::string text = value.string_value();
    for (size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 2) {
      text.replace(at, 1, "\\n");
    }
    return text;
  }
  if (value.is_double()) return fmt::format("{:g}", value.number_value());
  return value.Dump();
}

// A value under its key; numbers of bytes as people read them.
std::string Readable(const std::string& key, const Json& value) {
  if (!value.is_number() || !key.ends_with("bytes")) return Scalar(value);
  return fmt::format("{:.1f} MB", value.number_value() / 1e6);
}

// A key of the report for people: without its underscores, and without the unit that Readable
// writes beside the number.
std::string Title(std::string key) {
  if (key.ends_with("_bytes")) key.resize(key.size() - 6);
  std::replace(key.begin(), key.end(), '_', ' ');
  return key;
}

// Members of an object, one "key  value" line each; arrays of objects as rows. `names_are_keys`:
// the members are the file's own, to be shown as they are.
void PrintSection(const std::string& title, const Json& section, bool names_are_keys) {
  std::string out = Title(title) + "\n";
  if (section.is_object()) {
    for (const auto& [key, value] : section.object()) {
      out += fmt::format("  {:<34} {}\n", names_are_keys ? key : Title(key),
                         value.is_array() && value.array().empty() ? "none"
                         : value.is_object() || value.is_array()   ? value.Dump()
                                                                   : Readable(key, value));
    }
  } else if (section.is_array()) {
    for (const Json& row : section.array()) {
      out += " ";
      if (row.is_object()) {
        for (const auto& [key, value] : row.object()) {
          out += fmt::format(" {:<22}", Readable(key, value));
        }
      } else {
        out += " " + Scalar(row);
      }
      while (out.ends_with(' ')) out.pop_back();
      out += "\n";
    }
  }
  WriteStdout(ForTerminal(out) + "\n");
}

Status Inspect(InspectFlags& flags) {
  flags.model.options.plan_only = flags.plan;
  RILL_ASSIGN_OR_RETURN(auto llm, flags.model.Open());
  ProgressBar bar("checking weights", ProgressBar::Unit::kBytes);
  const Json report =
      llm->Inspect(flags.model.options.max_context,
                   [&bar](int64_t done, int64_t total) { bar.Update(done, total); });
  bar.Clear();
  if (flags.model.json) {
    PrintJson(report);
    return OkStatus();
  }
  for (const auto& [key, section] : report.object()) {
    if (key == "tensors" && !flags.tensors) continue;
    if (key == "metadata" && !flags.all_metadata) continue;
    PrintSection(key, section, key == "metadata");
  }
  return OkStatus();
}

}  // namespace

void AddInspect(CLI::App& app, CommandContext& context) {
  auto flags = std::make_shared<InspectFlags>();
  CLI::App* command = app.add_subcommand(
      "inspect", "Config, tensors by type, memory plan for a context, kernels that will run");
  command->footer(
      "Example:\n  rill inspect smollm2 --context 4096 --kv-dtype bf16\n"
      "Every weight is read, and NaN and Inf are reported; with --check-tensors they are refused.");
  flags->model.AddTo(*command);
  command->add_flag("--metadata", flags->all_metadata, "Also every metadata key of the file");
  command->add_flag("--tensors", flags->tensors, "Also every tensor");
  command->add_flag("--plan", flags->plan,
                    "Load no weights: quick, with a memory plan, without kernels");
  command->callback([flags, &context] {
    const Status status = Inspect(*flags);
    if (!status.ok()) context.exit_code = ReportError(status, flags->model.json);
  });
}

}  // namespace rill::app
