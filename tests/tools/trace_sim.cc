// trace_sim: what a policy of admission does with a recorded trace, in simulated time.
//   trace_sim --trace FILE [--pages N] [--page-size N] [--max-tokens N]
//             [--policy worst|predicted|known] [--quantile Q] [--limit N] [--choices N]
//
// FILE: a .csv with a head line and columns time,prompt tokens,answer tokens (tools/trace_csv.py
// makes one of conversations). All requests wait at the start, each with max_tokens = N, in the
// order of the trace; an answer ends where the recorded one
// ended. The engine is the real one; the model is none: a step takes
//   10 ms + 0.1 ms a prompt token + 0.25 ms a decode + 0.1 us a position read.
// Policies: `worst` admits when the worst case of all is covered; `predicted` by predicted length;
// `known` is told each length beforehand (what no server can have).
// Prints one JSON object.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace {

using rill::engine::Clock;

struct TraceRequest {
  int32_t prompt_tokens = 0, output_tokens = 0;
};

// Logits without a model: token 0 always.
class NoModel : public rill::engine::StepRunner {
 public:
  explicit NoModel(const rill::engine::RunnerInfo& info) : info_(info) {}
  const rill::engine::RunnerInfo& info() const override { return info_; }
  rill::Status Run(const rill::engine::StepPlan& plan,
                   const rill::engine::StepOutput& output) override {
    for (int32_t row = 0; row < plan.num_rows(); ++row) {
      output.logits.Row<float>(row)[0] = 1;
      output.logits.Row<float>(row)[1] = 0;
    }
    const double ms =
        10 + 0.1 * plan.size.prefill_tokens + 0.25 * plan.size.decodes + 1e-4 * plan.size.kv_reads;
    now += std::chrono::microseconds(static_cast<int64_t>(ms * 1000));
    return rill::OkStatus();
  }
  Clock::time_point now = Clock::time_point() + std::chrono::hours(1);

 private:
  const rill::engine::RunnerInfo info_;
};

std::vector<TraceRequest> ReadCsv(const std::string& path) {
  std::vector<TraceRequest> trace;
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  while (std::getline(file, line)) {
    const size_t first = line.find(','), second = line.find(',', first + 1);
    if (second == std::string::npos) continue;
    trace.push_back({std::atoi(line.c_str() + first + 1), std::atoi(line.c_str() + second + 1)});
  }
  return trace;
}

}  // namespace

int main(int argc, char** argv) {
  std::string trace_path, policy = "predicted";
  int32_t pages = 1024, page_size = 16, max_tokens = 2048, choices = 256;
  size_t limit = 1 << 20;
  double quantile = 0.9;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i], value = argv[i + 1];
    if (name == "--trace") trace_path = value;
    if (name == "--policy") policy = value;
    if (name == "--pages") pages = std::atoi(value.c_str());
    if (name == "--page-size") page_size = std::atoi(value.c_str());
    if (name == "--max-tokens") max_tokens = std::atoi(value.c_str());
    if (name == "--choices") choices = std::atoi(value.c_str());
    if (name == "--limit") limit = static_cast<size_t>(std::atoll(value.c_str()));
    if (name == "--quantile") quantile = std::atof(value.c_str());
  }
  const std::vector<TraceRequest> trace = ReadCsv(trace_path);
  rill::engine::RunnerInfo info;
  info.vocab_size = 2;
  info.page_size = page_size;
  info.num_pages = pages;
  info.max_context = std::min(16384, pages * page_size);
  info.max_step_tokens = 512;
  info.max_step_rows = 512;
  NoModel runner(info);
  rill::engine::EngineOptions options;
  options.max_choices = choices;
  options.max_waiting = 1 << 20;
  options.predict_lengths = policy == "predicted";
  options.length_quantile = quantile;
  options.prefix_cache = false;
  options.now = [&runner] { return runner.now; };
  auto engine = rill::engine::Engine::Create(options, runner);
  if (!engine.ok()) {
    std::fprintf(stderr, "%s\n", engine.status().ToString().c_str());
    return 1;
  }
  int64_t submitted = 0, skipped = 0, output_tokens = 0;
  for (const TraceRequest& entry : trace) {
    if (static_cast<size_t>(submitted) == limit) break;
    const int32_t length = std::clamp(entry.output_tokens, 1, max_tokens);
    rill::GenerateRequest request;
    request.prompt_ids.assign(static_cast<size_t>(std::max(1, entry.prompt_tokens)), 1);
    request.sampling.temperature = 0;
    request.sampling.max_tokens = policy == "known" ? length : max_tokens;
    const auto id =
        (*engine)->Submit(std::move(request), [&, length](const rill::TokenEvent& event) {
          output_tokens += event.token_id >= 0 ? 1 : 0;
          // The answer is over: as a stop string ends it.
          if (event.index + 1 == length && !event.is_final) {
            (*engine)->Cancel(event.request_id, 0);
          }
        });
    ++(id.ok() ? submitted : skipped);
  }
  const Clock::time_point begin = runner.now;
  const auto real_begin = std::chrono::steady_clock::now();
  double in_flight = 0, used_pages = 0;
  int64_t steps = 0, most = 0;
  while ((*engine)->HasWork()) {
    (void)(*engine)->Step();
    // Its end, with few requests left, says nothing of the policy: averages are of the time when
    // requests wait.
    const rill::EngineStats stats = (*engine)->stats();
    most = std::max<int64_t>(most, stats.running_choices);
    if (stats.waiting_requests == 0) continue;
    ++steps;
    in_flight += stats.running_choices;
    used_pages += stats.used_pages;
  }
  const std::chrono::duration<double> seconds = runner.now - begin;
  const std::chrono::duration<double> real = std::chrono::steady_clock::now() - real_begin;
  const rill::EngineStats stats = (*engine)->stats();
  std::printf(
      "{\"policy\": \"%s\", \"requests\": %lld, \"refused\": %lld, \"mean_in_flight\": %.1f, "
      "\"most_in_flight\": %lld, \"pages_used\": %.3f, \"requests_per_s\": %.3f, "
      "\"output_tokens_per_s\": %.1f, \"simulated_s\": %.1f, \"steps\": %lld, "
      "\"paused_share\": %.5f, \"plan_us_per_step\": %.1f}\n",
      policy.c_str(), static_cast<long long>(submitted), static_cast<long long>(skipped),
      in_flight / static_cast<double>(std::max<int64_t>(1, steps)), static_cast<long long>(most),
      used_pages / static_cast<double>(std::max<int64_t>(1, steps)) / pages,
      static_cast<double>(submitted) / seconds.count(),
      static_cast<double>(output_tokens) / seconds.count(), seconds.count(),
      static_cast<long long>(stats.steps),
      static_cast<double>(stats.paused_steps) /
          static_cast<double>(std::max<int64_t>(1, stats.paused_steps + stats.generated_tokens)),
      real.count() * 1e6 / static_cast<double>(std::max<int64_t>(1, stats.steps)));
  return 0;
}
