#include "server/status_sampler.h"

#include <algorithm>

#include "rill/llm.h"

namespace rill::server {
namespace {

void RaiseTo(std::atomic<double>& limit, double seen) {
  if (seen > limit) limit = seen;
}

}  // namespace

void MeasureMachine(ServerState& state, int64_t planned_bytes) {
  CeilingOptions options;
  options.buffer_bytes = std::min<int64_t>(256 << 20, planned_bytes);
  options.least_buffer_bytes = std::min(options.least_buffer_bytes, options.buffer_bytes);
  options.seconds = 0.01;
  // A limit is the best that was seen: on a shared machine one short look may find it busy. Memory
  // is looked at once: filling the buffer takes longer than reading it.
  for (int i = 0; i < 3; ++i) {
    const auto ceilings = MeasureCeilings(state.options.load, options);
    if (!ceilings.ok()) return;  // the shares stay unknown
    if (i == 0) state.memory_bytes_per_s = ceilings->dram_read_gbs * 1e9;
    options.buffer_bytes = options.least_buffer_bytes = std::min<int64_t>(1 << 20, planned_bytes);
    RaiseTo(state.int8_macs_per_s, ceilings->int8_dot_gmacs * 1e9);
    RaiseTo(state.f32_macs_per_s, ceilings->f32_fma_gflops * 1e9 / 2);
  }
}

double ShareOf(double share, std::initializer_list<std::atomic<double>*> limits) {
  if (share <= 1) return share;
  for (std::atomic<double>* limit : limits) limit->store(limit->load() * share);
  return 1;
}

double WindowOf(double elapsed_s, const std::map<std::string, double>& before,
                const std::map<std::string, double>& after) {
  double seconds = std::max(1e-3, elapsed_s);
  for (const auto& [id, step_s] : after) {
    const auto found = before.find(id);
    if (found != before.end()) seconds = std::max(seconds, step_s - found->second);
  }
  return seconds;
}

StatusSampler::StatusSampler(ServerState& state)
    : state_(state), last_(std::chrono::steady_clock::now()) {
  ServerStatus status;
  totals_ = ReadTotals(status);
}

StatusSampler::Totals StatusSampler::ReadTotals(ServerStatus& status) const {
  Totals totals;
  int64_t pages = 0, used_pages = 0;
  for (const auto& model : state_.registry.List()) {
    const EngineStats stats = model->llm->stats();
    status.running += stats.running_requests;
    status.waiting += stats.waiting_requests;
    pages += stats.total_pages;
    used_pages += stats.used_pages;
    const auto prompt = static_cast<double>(stats.prompt_tokens);
    const auto output = static_cast<double>(stats.generated_tokens);
    totals.prompt_tokens += prompt;
    totals.output_tokens += output;
    totals.step_s += stats.step_ms * 1e-3;
    totals.model_step_s[model->id] = stats.step_ms * 1e-3;
    // The engine's own count of each step: weights, keys and values, and products.
    totals.bytes += stats.step_cost.memory_bytes();
    totals.int8_macs += stats.step_cost.int8_macs;
    totals.f32_macs += stats.step_cost.f32_macs;
  }
  status.kv_share = pages > 0 ? static_cast<double>(used_pages) / static_cast<double>(pages) : 0;
  return totals;
}

ServerStatus StatusSampler::Sample() {
  ServerStatus status;
  const auto now = std::chrono::steady_clock::now();
  const Totals totals = ReadTotals(status);
  const double seconds = WindowOf(std::chrono::duration<double>(now - last_).count(),
                                  totals_.model_step_s, totals.model_step_s);
  last_ = now;
  // A model that was unloaded takes its totals with it.
  const auto rate = [&](double before, double after) {
    return std::max(0.0, after - before) / seconds;
  };
  status.prompt_tokens_per_s = rate(totals_.prompt_tokens, totals.prompt_tokens);
  status.output_tokens_per_s = rate(totals_.output_tokens, totals.output_tokens);
  status.busy_share = std::min(1.0, rate(totals_.step_s, totals.step_s));
  const double bandwidth = state_.memory_bytes_per_s;
  const double int8_peak = state_.int8_macs_per_s, f32_peak = state_.f32_macs_per_s;
  if (bandwidth > 0) {
    status.memory_share =
        ShareOf(rate(totals_.bytes, totals.bytes) / bandwidth, {&state_.memory_bytes_per_s});
  }
  if (int8_peak > 0 && f32_peak > 0) {
    // One thread does one kind or the other, so their times add up (rill/hardware.h).
    status.compute_share = ShareOf(rate(totals_.int8_macs, totals.int8_macs) / int8_peak +
                                       rate(totals_.f32_macs, totals.f32_macs) / f32_peak,
                                   {&state_.int8_macs_per_s, &state_.f32_macs_per_s});
  }
  totals_ = totals;
  if (state_.http) status.streams = static_cast<int>(state_.http->counters().requests_now);
  status.draining = state_.draining;
  state_.memory_share = status.memory_share;
  state_.compute_share = status.compute_share;
  return status;
}

}  // namespace rill::server
