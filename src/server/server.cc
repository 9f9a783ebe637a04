// RunServer: from options to the last answer.
#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <system_error>
#include <thread>
#include <tuple>

#include "base/size_text.h"
#include "base/thread_stacks.h"
#include "base/utf8.h"
#include "rill/line_writer.h"
#include "rill/model_store.h"
#include "rill/server.h"
#include "server/endpoints/endpoint.h"
#include "server/http/systemd.h"
#include "server/status_sampler.h"
#include "server/stop_signals.h"

namespace rill::server {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kDefaultAddress = "127.0.0.1";

Result<std::vector<ApiKey>> ReadKeys(const ServerOptions& options) {
  std::vector<ApiKey> keys;
  if (!options.key_file.empty()) {
    RILL_ASSIGN_OR_RETURN(keys, ApiKeys::ReadFile(options.key_file));
    // A file that was cut or not written yet must not open the server.
    if (keys.empty()) {
      return InvalidArgument(options.key_file + ": no key in it; without --key-file none is asked");
    }
  }
  for (size_t i = 0; i < options.api_keys.size(); ++i) {
    const std::string name = i == 0 ? std::string("default") : fmt::format("key{}", i + 1);
    RILL_ASSIGN_OR_RETURN(ApiKey key, ApiKeys::FromText(name, options.api_keys[i]));
    keys.push_back(std::move(key));
  }
  return keys;
}

// What would open the admin routes to whoever reaches the port, or not be done at all.
Status CheckListeners(const ServerOptions& options, const HttpServerOptions& http) {
  const bool has_admin_key = std::any_of(http.api_keys.begin(), http.api_keys.end(),
                                         [](const ApiKey& key) { return key.admin; });
  if (http.admin_on_main && !has_admin_key) {
    return InvalidArgument(
        "--admin-on-main: expected API keys, one of them marked admin (--key-file): without one, "
        "whoever reaches the address could load and unload models");
  }
  if (http.inherited_fds.empty()) return OkStatus();
  std::vector<std::string> flags;
  for (const std::string& address : options.addresses) flags.push_back("--host " + address);
  if (options.port) flags.push_back(fmt::format("--port {}", *options.port));
  if (!options.unix_path.empty()) flags.push_back("--unix " + options.unix_path);
  if (flags.empty()) return OkStatus();
  return InvalidArgument(
      fmt::format("{}: the listening sockets come from the service manager; give it the address "
                  "or the path (ListenStream=)",
                  fmt::join(flags, ", ")));
}

HttpLimits MakeHttpLimits(const ServerOptions& options) {
  const ServerLimits& from = options.limits;
  const auto ms = [](int64_t value) { return std::chrono::milliseconds(value); };
  HttpLimits out;
  out.max_request_line_bytes = static_cast<size_t>(from.max_request_line_bytes);
  out.max_header_fields = static_cast<size_t>(from.max_header_fields);
  out.max_head_bytes = static_cast<size_t>(from.max_head_bytes);
  out.max_body_bytes = static_cast<size_t>(options.max_body_bytes);
  out.max_buffered_bytes = static_cast<size_t>(from.max_buffered_bytes);
  out.max_unsent_bytes = static_cast<size_t>(from.max_unsent_bytes);
  out.max_pipelined_bytes = static_cast<size_t>(from.max_pipelined_bytes);
  out.max_requests_per_connection = static_cast<int>(from.max_requests_per_connection);
  out.max_connections = static_cast<int>(from.max_connections);
  out.max_admin_connections = static_cast<int>(from.max_admin_connections);
  out.max_connections_per_ip = static_cast<int>(from.max_connections_per_ip);
  out.max_unauthenticated_connections = static_cast<int>(from.max_unauthenticated_connections);
  out.auth_failures_per_minute = static_cast<int>(from.auth_failures_per_minute);
  out.tls_handshake_timeout = ms(from.tls_handshake_timeout_ms);
  out.head_timeout = ms(from.head_timeout_ms);
  out.body_window = ms(from.body_window_ms);
  out.body_min_bytes_per_window = static_cast<size_t>(from.body_min_bytes_per_window);
  out.keep_alive_timeout = ms(from.keep_alive_timeout_ms);
  out.write_stall = ms(from.write_stall_ms);
  out.ping_interval = ms(from.ping_interval_ms);
  out.half_open = ms(from.half_open_ms);
  out.linger = ms(from.linger_ms);
  return out;
}

Result<HttpServerOptions> MakeHttpOptions(const ServerOptions& options, ServerState& state) {
  HttpServerOptions http;
  http.inherited_fds = SystemdListenFds();
  http.addresses = options.addresses;
  if (http.addresses.empty() && http.inherited_fds.empty()) http.addresses = {kDefaultAddress};
  http.port = options.port.value_or(8080);
  http.unix_path = options.unix_path;
  http.admin_port = options.admin_port;
  http.admin_unix_path = options.admin_unix_path;
  http.admin_on_main = options.admin_on_main;
  http.tls_certificate = options.tls_certificate;
  http.tls_private_key = options.tls_private_key;
  RILL_ASSIGN_OR_RETURN(http.api_keys, ReadKeys(options));
  RILL_RETURN_IF_ERROR(CheckListeners(options, http));
  http.allow_unauthenticated = options.allow_unauthenticated;
  http.allowed_hosts = options.allowed_hosts;
  http.allowed_origins = options.allowed_origins;
  http.io_threads = options.io_threads;
  http.tenant_share = options.tenant_share;
  http.limits = MakeHttpLimits(options);
  http.on_warning = [&state](const std::string& message) {
    state.log->Write(LogLine("warning", "http").Add("message", message));
  };
  if (state.log->wants_requests()) {
    http.on_request_end = [&state](const HttpServerOptions::AccessRecord& record) {
      // Every second a probe: not a line each.
      if (record.status == 200 && (record.route == "/health" || record.route == "/live" ||
                                   record.route == "/ready" || record.route == "/metrics")) {
        return;
      }
      const double ms =
          std::chrono::duration<double, std::milli>(record.ended - record.received).count();
      LogLine line("info", "request");
      line.Add("request_id", record.request_id)
          .Add("method", record.method)
          .Add("route", record.route.empty() ? std::string_view("none") : record.route)
          .Add("status", static_cast<int64_t>(record.status))
          .Add("peer", record.peer);
      if (!record.tenant.empty()) line.Add("tenant", record.tenant);
      if (!record.trace_id.empty()) line.Add("trace_id", record.trace_id);
      if (!record.objective.empty()) line.Add("objective", record.objective);
      line.Add("complete", static_cast<int64_t>(record.complete))
          .Add("bytes_in", static_cast<int64_t>(record.body_bytes_in))
          .Add("bytes_out", static_cast<int64_t>(record.body_bytes_out))
          .Add("total_ms", ms);
      state.log->Write(line);
    };
  }
  return http;
}

Status CheckOptions(const ServerOptions& options) {
  if (options.models.empty()) return InvalidArgument("serve: no model given");
  if (const Status status = CheckModelNames(options.models); !status.ok()) {
    return status.WithPrefix("serve");
  }
  RILL_RETURN_IF_ERROR(CheckServerLimits(options.limits));
  if (options.max_choices < 1 || options.max_choices > GenerateRequest::kMaxChoices) {
    return InvalidArgument(fmt::format("serve: max_choices: expected 1 to {}, got {}",
                                       GenerateRequest::kMaxChoices, options.max_choices));
  }
  for (const auto& [name, value, most] :
       {std::tuple<const char*, double, double>{"itl_target_ms", options.itl_target_ms, 3.6e6},
        {"queue_timeout_s", options.queue_timeout_s, 3.1e7},
        {"total_timeout_s", options.total_timeout_s, 3.1e7}}) {
    // A fraction of a millisecond would be none.
    if (!(value == 0 || (value >= 0.001 && value <= most))) {
      return InvalidArgument(
          fmt::format("serve: {}: expected 0 (none) or 0.001 to {}, got {}", name, most, value));
    }
  }
  if (!(options.tenant_share >= 0.01 && options.tenant_share <= 1)) {
    return InvalidArgument(
        fmt::format("serve: tenant_share: expected 0.01 to 1, got {}", options.tenant_share));
  }
  if (options.max_logprobs < 0 || options.max_logprobs > SamplingParams::kMaxLogprobs) {
    return InvalidArgument(fmt::format("serve: max_logprobs: expected 0 to {}, got {}",
                                       SamplingParams::kMaxLogprobs, options.max_logprobs));
  }
  return OkStatus();
}

class Server {
 public:
  Server(const ServerOptions& options, StopSignals& signals) : state_(options), signals_(signals) {}

  ~Server() {
    if (loader_.joinable()) loader_.join();
    // No handler runs after this; then the models, whose callbacks may still hold responders.
    if (http_) http_->Stop();
    state_.registry.Clear();
  }

  Status Run() {
    RILL_RETURN_IF_ERROR(CheckOptions(state_.options));
    RILL_ASSIGN_OR_RETURN(state_.log, RequestLog::Create({.format = state_.options.log_format,
                                                          .file = state_.options.log_file,
                                                          .requests = state_.options.log_requests,
                                                          .prompts = state_.options.log_prompts}));
    // A model that cannot be read is left out when others can; one alone is the command's error.
    std::vector<ModelSpec> specs;
    const bool several = state_.options.models.size() > 1;
    Status first_failure;
    for (ModelSpec spec : state_.options.models) {
      Status status = Find(spec);
      if (status.ok() && several) {
        status = llm::ServingModel::Plan(spec.path, state_.options.load).status();
      }
      if (status.ok()) {
        specs.push_back(std::move(spec));
        continue;
      }
      if (several) AddFailure(spec.name, status);
      if (first_failure.ok()) first_failure = status;
    }
    if (specs.empty()) {
      return several ? first_failure.WithPrefix("serve: no model loads") : first_failure;
    }
    RILL_ASSIGN_OR_RETURN(plan_, state_.registry.PlanMemory(specs));
    RILL_ASSIGN_OR_RETURN(HttpServerOptions http, MakeHttpOptions(state_.options, state_));
    num_keys_ = static_cast<int>(http.api_keys.size());
    inherited_ = !http.inherited_fds.empty();
    RILL_ASSIGN_OR_RETURN(http_, HttpServer::Create(std::move(http), AllRoutes(state_)));
    state_.http = http_.get();
    WarnOfPlan();
    // Models are listed, and requests refused, while they load; in a service manager's socket
    // connections wait for the end of it instead.
    if (!inherited_) http_->Start();
    const Clock::time_point load_start = Clock::now();
    loader_ = std::thread([this, specs] {
      // Before the models, whose memory this would exceed.
      int64_t planned_bytes = 0;
      for (const ModelMemory& model : plan_) planned_bytes += model.total_bytes();
      MeasureMachine(state_, planned_bytes);
      int64_t later_bytes = planned_bytes;
      for (size_t i = 0; i < specs.size() && !stop_loading_; ++i) {
        later_bytes -= plan_[i].total_bytes();
        Status status;
        try {
          status = state_.registry.Load(specs[i], plan_[i].kv_bytes, later_bytes);
        } catch (const std::bad_alloc&) {
          status = ResourceExhausted(specs[i].name + ": memory ran out while loading");
        } catch (const std::system_error& error) {
          status = ResourceExhausted(specs[i].name + ": no thread: " + error.what());
        }
        if (!status.ok()) {
          const std::lock_guard lock(mutex_);
          AddFailure(specs[i].name, status);
          if (first_failure_.ok()) first_failure_ = status;
        }
      }
      loaded_ = true;
    });
    while (!loaded_) {
      const int number = signals_.Wait(std::chrono::milliseconds(10));
      if (number == SIGHUP) Reload();
      if (number == SIGTERM || number == SIGINT) {
        stop_loading_ = true;
        SystemdNotify("STOPPING=1");
        Notice("stop", "stopped while loading");
        LeaveLoading();
      }
    }
    loader_.join();
    if (state_.registry.List().empty()) return first_failure_;
    for (const auto& model : state_.registry.List()) {
      if (const std::string& error = model->llm->info().chat_template_error; !error.empty()) {
        state_.log->Write(
            LogLine("warning", "model").Add("model", model->id).Add("message", error));
      }
      for (const std::string& warning : model->llm->info().warnings) {
        state_.log->Write(
            LogLine("warning", "model").Add("model", model->id).Add("message", warning));
        if (!state_.options.on_notice) continue;
        state_.options.on_notice("warning: " + model->id + ": " + PrintableUtf8(warning, 1000));
      }
    }
    state_.loading = false;
    state_.ready = true;
    if (inherited_) http_->Start();
    Announce(std::chrono::duration<double>(Clock::now() - load_start).count());
    return Serve();
  }

 private:
  // The load of a model cannot be broken off, and may take minutes; nobody waits for it. What it
  // has open is read only, or a file that counts once it is renamed.
  [[noreturn]] void LeaveLoading() {
    http_->Stop();  // removes the socket's path, too
    state_.log->Flush(std::chrono::milliseconds(500));
    LineWriter::Stderr().Flush(std::chrono::milliseconds(500));
    std::_Exit(0);
  }

  // What was asked for and is less, or open.
  void WarnOfPlan() {
    const ServerOptions& options = state_.options;
    for (const ModelMemory& model : plan_) {
      if (options.kv_bytes > 0 && options.kv_bytes < model.kv_bytes) {
        Notice("memory", fmt::format("{}: {} of KV memory, one context of {} positions; "
                                     "--kv-memory {} is less (a smaller --context takes less)",
                                     model.name, SizeText(model.kv_bytes), model.max_context,
                                     SizeText(options.kv_bytes)));
      }
      if (options.kv_bytes <= model.kv_bytes) continue;
      Notice("memory",
             fmt::format("{}: {} of KV memory; the budget of {} leaves no {}", model.name,
                         SizeText(model.kv_bytes), SizeText(state_.registry.budget_bytes()),
                         SizeText(options.kv_bytes)));
    }
    const bool is_open = std::any_of(
        options.addresses.begin(), options.addresses.end(), [](const std::string& address) {
          return !address.starts_with("127.") && address != "::1" && address != "localhost";
        });
    if (is_open && num_keys_ == 0 && options.allowed_hosts.empty()) {
      Notice(
          "access",
          "no keys and no --allowed-host: a page of any site whose name is made to point here can "
          "use this server");
    }
  }

  // Replaces the model's name by its path.
  static Status Find(ModelSpec& spec) {
    RILL_ASSIGN_OR_RETURN(spec.path, ResolveModel(spec.path));
    return OkStatus();
  }

  void AddFailure(const std::string& name, const Status& status) {
    failed_.push_back(name + ": " + status.message());
    state_.log->Error("load", failed_.back());
  }

  void Announce(double load_s) {
    ServerSummary summary;
    const ServerOptions& options = state_.options;
    summary.has_tls = !options.tls_certificate.empty();
    const char* scheme = summary.has_tls ? "https" : "http";
    if (http_->port() != 0) {
      std::string host = options.addresses.empty() ? kDefaultAddress : options.addresses.front();
      if (host.find(':') != std::string::npos) host = "[" + host + "]";
      summary.url = fmt::format("{}://{}:{}", scheme, host, http_->port());
    }
    summary.unix_path = options.unix_path;
    if (http_->admin_port() != 0) {
      summary.admin_url = fmt::format("{}://127.0.0.1:{}", scheme, http_->admin_port());
    }
    summary.num_keys = num_keys_;
    summary.budget_bytes = state_.registry.budget_bytes();
    for (const auto& model : state_.registry.List()) {
      summary.models.push_back({.name = model->id,
                                .path = model->path,
                                .max_context = model->llm->info().max_context,
                                .weight_bytes = model->llm->weight_bytes(),
                                .activation_bytes = model->llm->activation_bytes(),
                                .kv_bytes = model->llm->kv_bytes(),
                                .kv_token_bytes = model->llm->kv_token_bytes()});
    }
    summary.failed = failed_;
    summary.load_s = load_s;
    state_.log->Notice("ready", summary.url.empty() ? summary.unix_path : summary.url);
    SystemdNotify("READY=1");
    if (options.on_started) options.on_started(summary);
  }

  Status Serve() {
    const ServerOptions& options = state_.options;
    signals_.LeaveAfterFirst(
        std::chrono::seconds(std::max({0, options.drain_timeout_s, options.drain_delay_s})) +
        kAfterDrain);
    StatusSampler sampler(state_);
    Clock::time_point next_tick = Clock::now() + std::chrono::seconds(1);
    while (true) {
      const auto wait =
          std::chrono::duration_cast<std::chrono::milliseconds>(next_tick - Clock::now());
      const int number = signals_.Wait(std::max(wait, std::chrono::milliseconds(1)));
      if (number == SIGHUP) Reload();
      if (number == SIGTERM || number == SIGINT) return Drain(number);
      if (Clock::now() >= next_tick) {
        next_tick += std::chrono::seconds(1);
        try {
          Tick(sampler);
        } catch (const std::bad_alloc&) {
          // The next second says the same.
        }
      }
    }
  }

  void Tick(StatusSampler& sampler) {
    const ServerStatus status = sampler.Sample();
    Watch();
    if (state_.options.on_status) state_.options.on_status(status);
  }

  Status Drain(int number) {
    const ServerOptions& options = state_.options;
    const auto wait = std::chrono::seconds(std::max(0, options.drain_timeout_s));
    // Ctrl-C is somebody who wants the prompt back, and with a service manager's sockets nobody is
    // sent away whom a balancer should have known of.
    const auto delay = std::chrono::seconds(
        number == SIGTERM && !inherited_ ? std::max(0, options.drain_delay_s) : 0);
    const Clock::time_point leave = Clock::now() + delay;
    const Clock::time_point deadline = Clock::now() + wait;
    signals_.EndWithin(std::max(wait, delay) + kAfterDrain);
    state_.draining = true;
    SystemdNotify("STOPPING=1");
    if (inherited_) {
      // The service manager's sockets outlive this process: new connections wait in them for the
      // next one. Those that were taken already get the moment in which their first request comes.
      http_->CloseListeners();
      if (StoppedAgain(std::chrono::milliseconds(250))) return OkStatus();
    }
    http_->BeginDrain(std::chrono::seconds(1));
    const std::string stays =
        delay.count() > 0 ? fmt::format("; 503 for new ones for {} s", delay.count()) : "";
    Notice("drain", fmt::format("draining: {} requests under way, at most {} s{}; once more stops",
                                http_->counters().requests_now, wait.count(), stays));
    uint64_t cut = 0;
    bool is_cut = false;
    while (true) {
      const bool idle = http_->WaitIdle(Clock::now() + std::chrono::milliseconds(20));
      if (idle && Clock::now() >= leave) break;
      if (!is_cut && Clock::now() >= deadline) {
        // They are told, as far as their clients read within a second.
        is_cut = true;
        cut = http_->counters().requests_now;
        state_.registry.CancelAll();
      }
      if (Clock::now() >= std::max(leave, deadline + std::chrono::seconds(1))) break;
      if (StoppedAgain(std::chrono::milliseconds(idle ? 20 : 1))) return OkStatus();
    }
    // Who connected or wrote while this was decided is told, too.
    http_->StopAccepting();
    if (StoppedAgain(std::chrono::milliseconds(50))) return OkStatus();
    http_->WaitIdle(std::min(Clock::now() + std::chrono::milliseconds(1000),
                             std::max(leave, deadline) + std::chrono::milliseconds(1500)));
    Notice("stop", cut > 0 ? fmt::format("stopped: the time was up for {} requests", cut)
                           : std::string("stopped"));
    // A step that has not ended is not waited for longer.
    signals_.EndWithin(kAfterDrain);
    return OkStatus();
  }

  // Waits that long for a second SIGTERM or SIGINT.
  bool StoppedAgain(std::chrono::milliseconds timeout) {
    const int number = signals_.Wait(timeout);
    if (number != SIGTERM && number != SIGINT) return false;
    Notice("stop", fmt::format("stopped: {} requests dropped", http_->counters().requests_now));
    return true;
  }

  // While no step hangs and an engine works the service manager hears so; one that hangs, and a
  // dead engine, are logged once.
  void Watch() {
    bool hangs = false;
    const auto models = state_.registry.List();
    size_t num_dead = 0;
    for (const auto& model : models) {
      const EngineStats stats = model->llm->stats();
      if (!stats.dead) continue;
      if (++num_dead <= dead_logged_) continue;
      state_.log->Error("engine", fmt::format("{} is dead: {}", model->id, stats.dead_reason));
    }
    dead_logged_ = num_dead;
    for (const auto& model : models) {
      const double seconds = model->llm->current_step_ms() * 1e-3;
      if (state_.options.watchdog_s <= 0 || seconds <= state_.options.watchdog_s) continue;
      hangs = true;
      if (hang_logged_) continue;
      state_.log->Error(
          "watchdog", fmt::format("a step of {} has not ended for {:.1f} s; threads: {}", model->id,
                                  seconds, DescribeThreads()));
    }
    hang_logged_ = hangs;
    if (!hangs && (models.empty() || num_dead < models.size())) SystemdNotify("WATCHDOG=1");
  }

  // The log's file, keys and certificates again. What is wrong changes nothing.
  void Reload() {
    if (const Status log = state_.log->Reopen(); !log.ok()) {
      Notice("reload", "the log goes on as it was: " + log.message());
    }
    auto keys = ReadKeys(state_.options);
    const int num_keys = keys.ok() ? static_cast<int>(keys->size()) : 0;
    const Status status = keys.ok() ? http_->Reload(std::move(*keys)) : keys.status();
    if (status.ok()) {
      num_keys_ = num_keys;
      Notice("reload", "keys and certificates read again");
    } else {
      Notice("reload", "reload failed, all stays as it was: " + status.message());
    }
  }

  void Notice(std::string_view event, const std::string& message) {
    state_.log->Notice(event, message);
    if (state_.options.on_notice) state_.options.on_notice(message);
  }

  // After the time that requests have: for their answers' way, and for the end in order.
  static constexpr std::chrono::milliseconds kAfterDrain{2000};

  ServerState state_;
  StopSignals& signals_;
  std::unique_ptr<HttpServer> http_;
  std::vector<ModelMemory> plan_;
  int num_keys_ = 0;
  bool inherited_ = false;  // listening sockets came from a service manager
  bool hang_logged_ = false;
  size_t dead_logged_ = 0;
  std::thread loader_;
  std::atomic<bool> loaded_{false}, stop_loading_{false};
  std::mutex mutex_;  // guards failures while loading
  std::vector<std::string> failed_;
  Status first_failure_;
};

}  // namespace
}  // namespace rill::server

namespace rill {

Status RunServer(const ServerOptions& options) {
  // Before the first other thread.
  RILL_ASSIGN_OR_RETURN(const auto signals, server::StopSignals::Create());
  signal(SIGPIPE, SIG_IGN);
  return server::Server(options, *signals).Run();
}

}  // namespace rill
