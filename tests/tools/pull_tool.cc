// Driver for tests/cli/test_pull.py: rill::PullModel with short waits between attempts.
//
//   pull_tool SPEC [--attempts N] [--stop-after BYTES] [--stall SECONDS]
//
// Prints one JSON object: {"ok", "code", "message", "name", "path", "size_bytes", "was_cached",
// "notes", "progress"} where progress is the list of [file, done, total] that was reported.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/json.h"
#include "llm/pull.h"

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  int64_t stop_after = -1;
  auto settings = rill::llm::PullSettings::FromEnvironment();
  auto store = rill::llm::ModelStore::FromEnvironment();
  rill::PullOptions options;
  rill::Json::Array notes;
  rill::Json::Array progress;
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    const int value = std::atoi(argv[i + 1]);
    if (flag == "--attempts" && settings.ok()) settings->transfer.max_attempts = value;
    if (flag == "--stall" && settings.ok()) settings->transfer.timeouts.stall_s = value;
    if (flag == "--stop-after") stop_after = value;
  }
  options.on_note = [&](std::string_view note) { notes.emplace_back(note); };
  options.on_progress = [&](std::string_view what, int64_t done, int64_t total) {
    if (progress.size() < 10000) {
      progress.push_back(rill::Json::Array{rill::Json(what), rill::Json(done), rill::Json(total)});
    }
    return stop_after < 0 || done < stop_after;
  };

  rill::Status status = settings.ok() ? store.status() : settings.status();
  rill::Json out;
  if (status.ok()) {
    settings->transfer.retry_delay_ms = 10;
    auto pulled = rill::llm::Pull(*store, argv[1], options, *settings);
    status = pulled.status();
    if (pulled.ok()) {
      out.Set("name", pulled->name);
      out.Set("path", pulled->path);
      out.Set("size_bytes", pulled->size_bytes);
      out.Set("was_cached", pulled->was_cached);
    }
  }
  out.Set("ok", status.ok());
  out.Set("code", rill::StatusCodeName(status.code()));
  out.Set("message", status.message());
  out.Set("notes", std::move(notes));
  out.Set("progress", std::move(progress));
  std::printf("%s\n", out.Dump().c_str());
  return 0;
}
