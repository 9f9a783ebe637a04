#include "server/metrics/page.h"

#include <fmt/compile.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

namespace rill::server {
namespace {

// One model at the moment of the page.
struct ModelView {
  std::string label;  // model="…" or model_name="…", escaped
  std::string vllm_label;
  const ServedModel* model = nullptr;
  EngineStats engine;
  llm::StageTimes stages;
};

std::string EscapeLabel(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

class Page {
 public:
  explicit Page(std::vector<ModelView> models) : models_(std::move(models)) {
    out_.reserve(48u << 10);
  }

  void Family(std::string_view name, std::string_view type, std::string_view help) {
    fmt::format_to(std::back_inserter(out_), FMT_COMPILE("# HELP {} {}\n# TYPE {} {}\n"), name,
                   help, name, type);
  }
  template <typename T>
  void Sample(std::string_view name, std::string_view labels, T value) {
    if (labels.empty()) {
      fmt::format_to(std::back_inserter(out_), FMT_COMPILE("{} {}\n"), name, value);
    } else {
      fmt::format_to(std::back_inserter(out_), FMT_COMPILE("{}{{{}}} {}\n"), name, labels, value);
    }
  }
  template <typename T>
  void Single(std::string_view name, std::string_view type, std::string_view help, T value) {
    Family(name, type, help);
    Sample(name, "", value);
  }

  // A figure of each model, under its own name and vLLM's (each may be empty).
  template <typename F>
  void PerModel(std::string_view own, std::string_view vllm, std::string_view type,
                std::string_view help, F value) {
    if (!own.empty()) {
      Family(own, type, help);
      for (const ModelView& view : models_) Sample(own, view.label, value(view));
    }
    if (!vllm.empty() && with_vllm_) {
      Family(vllm, type, help);
      for (const ModelView& view : models_) Sample(vllm, view.vllm_label, value(view));
    }
  }

  template <typename F>
  void Histograms(std::string_view own, std::string_view vllm, std::string_view help, F histogram) {
    if (!own.empty()) OneHistogram(own, help, histogram, false);
    if (!vllm.empty() && with_vllm_) OneHistogram(vllm, help, histogram, true);
  }

  void set_with_vllm(bool with) { with_vllm_ = with; }
  const std::vector<ModelView>& models() const { return models_; }
  std::string Take() { return std::move(out_); }

 private:
  template <typename F>
  void OneHistogram(std::string_view name, std::string_view help, F histogram, bool is_vllm) {
    Family(name, "histogram", help);
    for (const ModelView& view : models_) {
      const Histogram& h = histogram(view.model->metrics);
      const std::string& label = is_vllm ? view.vllm_label : view.label;
      uint64_t total = 0;
      for (size_t i = 0; i < h.bounds().size(); ++i) {
        total += h.count(i);
        fmt::format_to(std::back_inserter(out_), FMT_COMPILE("{}_bucket{{{},le=\"{}\"}} {}\n"),
                       name, label, h.bounds()[i], total);
      }
      total += h.count(h.bounds().size());
      fmt::format_to(std::back_inserter(out_),
                     FMT_COMPILE("{}_bucket{{{},le=\"+Inf\"}} {}\n{}_sum{{{}}} {}\n{}_count{{{}}} "
                                 "{}\n"),
                     name, label, total, name, label, h.sum(), name, label, total);
    }
  }

  std::vector<ModelView> models_;
  bool with_vllm_ = true;
  std::string out_;
};

uint64_t Load(const std::atomic<uint64_t>& value) {
  return value.load(std::memory_order_relaxed);
}

double KvShare(const EngineStats& stats) {
  if (stats.total_pages <= 0) return 0;
  return static_cast<double>(stats.used_pages) / stats.total_pages;
}

void Gauges(Page& page) {
  page.PerModel("rill_requests_running", "vllm:num_requests_running", "gauge",
                "Requests in the running batch.",
                [](const ModelView& v) { return v.engine.running_requests; });
  page.PerModel("rill_requests_waiting", "vllm:num_requests_waiting", "gauge",
                "Requests that wait for a place in the batch.",
                [](const ModelView& v) { return v.engine.waiting_requests; });
  page.PerModel("rill_kv_pages", "", "gauge", "Pages of KV memory.",
                [](const ModelView& v) { return v.engine.total_pages; });
  page.PerModel("rill_kv_pages_free", "", "gauge", "Pages that no request holds.",
                [](const ModelView& v) { return v.engine.free_pages; });
  page.PerModel("rill_kv_pages_cached", "", "gauge", "Pages kept for their content alone.",
                [](const ModelView& v) { return v.engine.cached_pages; });
  page.PerModel("rill_kv_usage_ratio", "vllm:kv_cache_usage_perc", "gauge",
                "KV memory in use, 0 to 1.", [](const ModelView& v) { return KvShare(v.engine); });
  page.PerModel("", "vllm:gpu_cache_usage_perc", "gauge", "KV memory in use, 0 to 1.",
                [](const ModelView& v) { return KvShare(v.engine); });
  page.PerModel("rill_engine_dead", "", "gauge", "1 when the device is lost.",
                [](const ModelView& v) { return v.engine.dead ? 1 : 0; });
  page.PerModel("", "vllm:engine_sleep_state", "gauge", "Always 0: awake.",
                [](const ModelView&) { return 0; });
}

void Counters(Page& page) {
  page.PerModel("rill_prompt_tokens_total", "vllm:prompt_tokens_total", "counter",
                "Prompt tokens of requests that were computed, cached ones included.",
                [](const ModelView& v) { return Load(v.model->metrics.prompt_tokens_total); });
  page.PerModel("rill_generated_tokens_total", "vllm:generation_tokens_total", "counter",
                "Output tokens.",
                [](const ModelView& v) { return Load(v.model->metrics.generation_tokens_total); });
  page.PerModel("rill_prefilled_tokens_total", "", "counter", "Prompt tokens computed.",
                [](const ModelView& v) { return v.engine.prompt_tokens; });
  page.PerModel("rill_prefix_cache_queries_total", "vllm:prefix_cache_queries_total", "counter",
                "Prompt tokens looked up in the prefix cache.",
                [](const ModelView& v) { return v.engine.prefix_queries; });
  page.PerModel("rill_prefix_cache_hits_total", "vllm:prefix_cache_hits_total", "counter",
                "Prompt tokens found in the prefix cache.",
                [](const ModelView& v) { return v.engine.prefix_hits; });
  page.PerModel("", "vllm:gpu_prefix_cache_queries_total", "counter",
                "Prompt tokens looked up in the prefix cache.",
                [](const ModelView& v) { return v.engine.prefix_queries; });
  page.PerModel("", "vllm:gpu_prefix_cache_hits_total", "counter",
                "Prompt tokens found in the prefix cache.",
                [](const ModelView& v) { return v.engine.prefix_hits; });
  page.PerModel("rill_preemptions_total", "vllm:num_preemptions_total", "counter",
                "Always 0: what is admitted finishes.", [](const ModelView&) { return 0; });
  page.PerModel("rill_steps_total", "", "counter", "Forward steps.",
                [](const ModelView& v) { return v.engine.steps; });
  page.PerModel("rill_evicted_pages_total", "", "counter", "Cached pages given to others.",
                [](const ModelView& v) { return v.engine.evicted_pages; });
  page.PerModel("rill_paused_steps_total", "", "counter", "Steps that a choice waited for a page.",
                [](const ModelView& v) { return v.engine.paused_steps; });
  page.PerModel("rill_requests_expired_total", "", "counter", "Requests past a deadline.",
                [](const ModelView& v) { return v.engine.expired_requests; });
  page.PerModel("rill_estimated_wait_seconds", "", "gauge",
                "How long a request that came now would wait.",
                [](const ModelView& v) { return v.engine.estimated_wait_ms * 1e-3; });
  page.PerModel("rill_failed_steps_total", "", "counter", "Steps that the device failed.",
                [](const ModelView& v) { return v.engine.failed_steps; });
  page.Family("rill_choices_finished_total", "counter", "Choices by how they ended.");
  for (const ModelView& v : page.models()) {
    const ModelMetrics& m = v.model->metrics;
    const auto sample = [&](const char* reason, uint64_t count) {
      page.Sample("rill_choices_finished_total", fmt::format("{},reason=\"{}\"", v.label, reason),
                  count);
    };
    sample("stop", Load(m.finished_stop));
    sample("length", Load(m.finished_length));
    sample("cancelled", Load(m.finished_abort));
    sample("error", Load(m.finished_error));
  }
  page.PerModel("rill_engine_idle_seconds_total", "", "counter", "Compute thread asleep.",
                [](const ModelView& v) { return v.engine.idle_ms * 1e-3; });
  page.PerModel("rill_engine_starved_seconds_total", "", "counter",
                "Of that, while requests waited for text work.",
                [](const ModelView& v) { return v.engine.starved_ms * 1e-3; });
  page.Family("rill_stage_seconds_total", "counter",
              "Time of each stage: tokenise, plan, compute, sample, emit, detokenise, return.");
  for (const ModelView& v : page.models()) {
    const auto sample = [&](const char* stage, double seconds) {
      page.Sample("rill_stage_seconds_total", fmt::format("{},stage=\"{}\"", v.label, stage),
                  seconds);
    };
    sample("tokenise", v.stages.tokenise_s);
    sample("compute", v.engine.step_ms * 1e-3);
    sample("sample", v.engine.sample_ms * 1e-3);
    sample("plan", v.engine.plan_ms * 1e-3);
    sample("emit", v.engine.emit_ms * 1e-3);
    sample("detokenise", v.stages.detokenise_s);
    sample("return", v.stages.callback_s);
  }
}

// What is refused before its body is read has no model yet, and none in its label.
void Refused(Page& page, const ServerState& state) {
  constexpr std::string_view kName = "rill_requests_refused_total";
  page.Family(kName, "counter",
              "Requests answered 503, or ended with that error, by the reason; without a model: "
              "refused before it was known.");
  for (const ModelView& v : page.models()) {
    const ModelMetrics& m = v.model->metrics;
    page.Sample(kName, v.label + ",reason=\"overloaded\"", Load(m.refused_overloaded));
    page.Sample(kName, v.label + ",reason=\"draining\"", Load(m.refused_draining));
  }
  const uint64_t draining = state.http ? state.http->counters().refused_draining : 0;
  page.Sample(kName, "reason=\"draining\"", draining);
}

void VllmOnly(Page& page) {
  page.Family("vllm:request_success_total", "counter", "Choices that ended well, by reason.");
  for (const ModelView& v : page.models()) {
    const ModelMetrics& m = v.model->metrics;
    const auto sample = [&](const char* reason, uint64_t count) {
      page.Sample("vllm:request_success_total",
                  fmt::format("{},finished_reason=\"{}\"", v.vllm_label, reason), count);
    };
    sample("stop", Load(m.finished_stop));
    sample("length", Load(m.finished_length));
    sample("abort", Load(m.finished_abort));
  }
  page.Family("vllm:cache_config_info", "gauge", "Geometry of the KV memory.");
  for (const ModelView& v : page.models()) {
    page.Sample("vllm:cache_config_info",
                fmt::format("{},block_size=\"{}\",num_gpu_blocks=\"{}\",num_cpu_blocks=\"0\","
                            "enable_prefix_caching=\"True\"",
                            v.vllm_label, v.model->llm->page_size(), v.engine.total_pages),
                1);
  }
}

void AllHistograms(Page& page) {
  page.Histograms("rill_time_to_first_token_seconds", "vllm:time_to_first_token_seconds",
                  "From the request's arrival to its first token.",
                  [](const ModelMetrics& m) -> auto& { return m.time_to_first_token; });
  page.Histograms("rill_inter_token_latency_seconds", "vllm:inter_token_latency_seconds",
                  "Between two tokens of one choice.",
                  [](const ModelMetrics& m) -> auto& { return m.inter_token_latency; });
  page.Histograms("", "vllm:time_per_output_token_seconds", "Between two tokens of one choice.",
                  [](const ModelMetrics& m) -> auto& { return m.inter_token_latency; });
  page.Histograms("", "vllm:request_time_per_output_token_seconds",
                  "Mean time between tokens, per request.",
                  [](const ModelMetrics& m) -> auto& { return m.request_time_per_output_token; });
  page.Histograms("rill_request_seconds", "vllm:e2e_request_latency_seconds",
                  "From the arrival of a request that was computed to its end.",
                  [](const ModelMetrics& m) -> auto& { return m.e2e_latency; });
  page.Histograms("rill_queue_seconds", "vllm:request_queue_time_seconds",
                  "From submission to admission.",
                  [](const ModelMetrics& m) -> auto& { return m.queue_time; });
  page.Histograms("", "vllm:request_inference_time_seconds", "Prefill and decode.",
                  [](const ModelMetrics& m) -> auto& { return m.inference_time; });
  page.Histograms("rill_prefill_seconds", "vllm:request_prefill_time_seconds",
                  "From admission to the first token.",
                  [](const ModelMetrics& m) -> auto& { return m.prefill_time; });
  page.Histograms("rill_decode_seconds", "vllm:request_decode_time_seconds",
                  "From the first token to the end.",
                  [](const ModelMetrics& m) -> auto& { return m.decode_time; });
  page.Histograms("rill_request_prompt_tokens", "vllm:request_prompt_tokens",
                  "Prompt tokens per request.",
                  [](const ModelMetrics& m) -> auto& { return m.prompt_tokens; });
  page.Histograms("rill_request_generated_tokens", "vllm:request_generation_tokens",
                  "Output tokens per request.",
                  [](const ModelMetrics& m) -> auto& { return m.generation_tokens; });
  page.Histograms("", "vllm:request_params_max_tokens", "max_tokens of requests that give it.",
                  [](const ModelMetrics& m) -> auto& { return m.max_tokens; });
  page.Histograms("", "vllm:request_params_n", "n of requests.",
                  [](const ModelMetrics& m) -> auto& { return m.n; });
}

// Kept by the engine, per step, for each power of two; every second one is enough here.
void StepTokens(Page& page, std::string_view name, bool is_vllm) {
  page.Family(name, "histogram", "Tokens computed in one step.");
  for (const ModelView& v : page.models()) {
    const auto& h = v.engine.step_tokens;
    const std::string& label = is_vllm ? v.vllm_label : v.label;
    int64_t total = 0;
    for (size_t i = 0; i < EngineStats::kStepTokens.size(); ++i) {
      total += h.counts[i];
      if (i % 2 == 1) continue;
      page.Sample(fmt::format("{}_bucket", name),
                  fmt::format("{},le=\"{}\"", label, EngineStats::kStepTokens[i]), total);
    }
    page.Sample(fmt::format("{}_bucket", name), fmt::format("{},le=\"+Inf\"", label), h.total);
    page.Sample(fmt::format("{}_sum", name), label, h.sum);
    page.Sample(fmt::format("{}_count", name), label, h.total);
  }
}

double SecondsOf(clockid_t clock) {
  timespec now = {};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// Unix time: field 22 of /proc/self/stat, in ticks since the machine's boot.
double ProcessStartTime() {
  std::ifstream file("/proc/self/stat");
  std::string stat;
  std::getline(file, stat);
  // Of "pid (name) state ppid …" the name may hold anything.
  const size_t close = std::min(stat.rfind(')'), stat.size());
  std::istringstream fields(stat.substr(std::min(close + 1, stat.size())));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  double ticks = 0;
  const double now = SecondsOf(CLOCK_REALTIME);
  if (!(fields >> ticks)) return now;
  const auto per_second = static_cast<double>(sysconf(_SC_CLK_TCK));
  return now - (SecondsOf(CLOCK_BOOTTIME) - ticks / per_second);
}

void Process(Page& page, ServerState& state) {
  page.Single("rill_memory_bandwidth_ratio", "gauge",
              "Bytes of weights and KV read in the last second, of the measured bandwidth.",
              std::max(0.0, state.memory_share.load()));
  page.Single("rill_compute_ratio", "gauge",
              "Multiply-adds of the last second, of the measured peak.",
              std::max(0.0, state.compute_share.load()));
  page.Single("rill_memory_bandwidth_bytes_per_second", "gauge",
              "Memory bandwidth measured at the start; 0: not measured.",
              state.memory_bytes_per_s.load());
  page.Single("rill_multiply_adds_per_second", "gauge",
              "f32 multiply-adds per second measured at the start; 0: not measured.",
              state.f32_macs_per_s.load());
  page.Single("rill_int8_multiply_adds_per_second", "gauge",
              "Integer multiply-adds per second measured at the start; 0: not measured.",
              state.int8_macs_per_s.load());
  page.Single("rill_itl_target_seconds", "gauge",
              "What prompts in a step may stretch the time between two tokens to; 0: no target.",
              state.options.itl_target_ms * 1e-3);
  page.Single("rill_draining", "gauge", "1 after the first SIGTERM.", state.draining ? 1 : 0);
  page.Single("rill_models_loaded", "gauge", "Models that serve.", page.models().size());
  long pages = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%*s %ld", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  page.Single("process_resident_memory_bytes", "gauge", "Resident memory.",
              static_cast<int64_t>(pages) * sysconf(_SC_PAGESIZE));
  timespec cpu = {};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
  page.Single("process_cpu_seconds_total", "counter", "CPU time of all threads.",
              static_cast<double>(cpu.tv_sec) + static_cast<double>(cpu.tv_nsec) * 1e-9);
  static const double start_time = ProcessStartTime();
  page.Single("process_start_time_seconds", "gauge", "Unix time of the process's start.",
              start_time);
}

void Http(Page& page, const HttpCounters& http, bool with_vllm) {
  page.Family("rill_http_responses_total", "counter", "Responses by class.");
  for (int i = 1; i < 6; ++i) {
    page.Sample("rill_http_responses_total", fmt::format("class=\"{}xx\"", i),
                http.responses_by_class[i]);
  }
  if (with_vllm) {
    page.Family("http_requests_total", "counter", "Responses by class.");
    for (int i = 1; i < 6; ++i) {
      page.Sample("http_requests_total", fmt::format("status=\"{}xx\"", i),
                  http.responses_by_class[i]);
    }
  }
  page.Single("rill_http_requests_total", "counter", "Requests.", http.requests);
  page.Single("rill_http_requests_now", "gauge", "Requests under way.", http.requests_now);
  page.Single("rill_http_connections_open", "gauge", "Open connections.", http.connections_now);
  page.Single("rill_http_connections_total", "counter", "Connections accepted.",
              http.connections_accepted);
  page.Single("rill_http_admin_connections_open", "gauge", "Of those, on the admin listeners.",
              http.admin_connections_now);
  page.Single("rill_http_connections_refused_total", "counter", "Connections over a limit.",
              http.connections_refused);
  page.Single("rill_http_connections_evicted_total", "counter",
              "Connections without a request, closed to make room.", http.connections_evicted);
  page.Single("rill_http_clients_gone_total", "counter",
              "Clients that left before the end of their answer.", http.clients_gone);
  page.Single("rill_http_slow_readers_total", "counter", "Streams cut because nobody read them.",
              http.slow_readers_cut);
  page.Single("rill_http_malformed_total", "counter", "Requests refused by the parser.",
              http.malformed);
  page.Single("rill_http_auth_failures_total", "counter", "Answers 401.", http.auth_failures);
  page.Single("rill_http_timeouts_total", "counter", "Requests that came too slowly.",
              http.head_timeouts + http.body_timeouts);
  page.Single("rill_http_received_bytes_total", "counter", "Bytes read.", http.bytes_in);
  page.Single("rill_http_sent_bytes_total", "counter", "Bytes written.", http.bytes_out);
}

}  // namespace

std::string MetricsPage(ServerState& state) {
  const auto models = state.registry.List();
  std::vector<ModelView> views;
  for (const auto& model : models) {
    const std::string name = EscapeLabel(model->id);
    views.push_back({.label = fmt::format("model=\"{}\"", name),
                     .vllm_label = fmt::format("model_name=\"{}\",engine=\"0\"", name),
                     .model = model.get(),
                     .engine = model->llm->stats(),
                     .stages = model->llm->text().stage_times()});
  }
  Page page(std::move(views));
  page.set_with_vllm(state.options.vllm_metrics);
  Gauges(page);
  Counters(page);
  Refused(page, state);
  if (state.options.vllm_metrics) VllmOnly(page);
  AllHistograms(page);
  StepTokens(page, "rill_step_tokens", false);
  if (state.options.vllm_metrics) StepTokens(page, "vllm:iteration_tokens_total", true);
  Process(page, state);
  page.Single("rill_log_lines_dropped_total", "counter",
              "Log lines that could not be written or waited too long.",
              state.log ? state.log->lines_dropped() : 0);
  if (state.http) Http(page, state.http->counters(), state.options.vllm_metrics);
  return page.Take();
}

}  // namespace rill::server
