// rill serve MODEL…: the OpenAI-compatible server.

#include <fmt/format.h>

#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "command.h"
#include "numbers.h"
#include "rill/line_writer.h"
#include "rill/model_store.h"
#include "rill/server.h"

namespace rill::app {
namespace {

struct ServeFlags {
  ServerOptions options;
  ModelFlags model;                 // its loading flags
  std::vector<std::string> models;  // "[NAME=]MODEL"
  std::vector<std::string> names;
  std::vector<std::string> aliases;     // "NAME" or "MODEL=NAME"
  std::vector<std::string> limits;      // "NAME=VALUE"
  std::vector<std::string> objectives;  // "NAME=PRIORITY"
  std::string memory, kv_memory;
  std::string metrics_compat = "vllm";
  const CLI::Option* log_format = nullptr;
  bool no_request_log = false;
  bool quiet = false;
};

// "8G", "512M", "1073741824"
Result<int64_t> ParseBytes(const std::string& flag, const std::string& text) {
  if (text.empty()) return int64_t{0};
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  const double number = ParseNumber<double>(std::string_view(text).substr(0, digits)).value_or(0);
  double unit = 1;
  std::string suffix = text.substr(digits);
  if (suffix.ends_with("iB")) {
    suffix.resize(suffix.size() - 2);
  } else if (suffix.ends_with("B")) {
    suffix.resize(suffix.size() - 1);
  }
  if (suffix == "K") unit = 1024.0;
  if (suffix == "M") unit = 1024.0 * 1024;
  if (suffix == "G") unit = 1024.0 * 1024 * 1024;
  if (suffix == "T") unit = 1024.0 * 1024 * 1024 * 1024;
  const double bytes = number * unit;
  if ((unit == 1 && !suffix.empty()) || !(bytes > 0) || bytes > 1e15) {
    return InvalidArgument(flag + ": expected a size such as 8G or 512M, got '" + text + "'");
  }
  return static_cast<int64_t>(bytes);
}

// What a model is called when nobody says: the file's name without its suffix.
std::string DefaultName(std::string text) {
  while (text.size() > 1 && text.ends_with('/')) text.pop_back();
  if (text.starts_with("hf:")) return text.substr(3);
  // A folder's own name.
  if (text == "." || text == ".." || text.ends_with("/.") || text.ends_with("/..")) {
    std::error_code error;
    const auto folder = std::filesystem::canonical(text, error);
    if (!error) text = folder.string();
  }
  if (const size_t slash = text.rfind('/'); slash != std::string::npos) text.erase(0, slash + 1);
  if (text.ends_with(".gguf")) text.resize(text.size() - 5);
  return text;
}

Status ReadModels(ServeFlags& flags) {
  if (flags.models.empty()) flags.models.push_back(std::string(kDefaultModel));
  for (const std::string& entry : flags.models) {
    ModelSpec spec;
    std::string model = entry;
    // NAME=MODEL, unless the whole is a file.
    const size_t equals = entry.find('=');
    if (equals != std::string::npos && equals > 0 && !ResolveModel(entry).ok()) {
      spec.name = entry.substr(0, equals);
      model = entry.substr(equals + 1);
    }
    if (model.empty()) {
      return InvalidArgument("MODEL: expected [NAME=]MODEL, got '" + entry + "'");
    }
    // Found by the server: one that is not there leaves the others serving.
    spec.path = model;
    if (spec.name.empty()) spec.name = DefaultName(model);
    flags.options.models.push_back(std::move(spec));
  }
  if (flags.names.size() > flags.options.models.size()) {
    const size_t num_models = flags.options.models.size();
    return InvalidArgument(fmt::format("--served-model-name: {} names for {} model{}",
                                       flags.names.size(), num_models, num_models == 1 ? "" : "s"));
  }
  for (size_t i = 0; i < flags.names.size(); ++i) flags.options.models[i].name = flags.names[i];
  for (const std::string& entry : flags.aliases) {
    const size_t equals = entry.find('=');
    if (equals == std::string::npos) {
      flags.options.models.front().aliases.push_back(entry);
      continue;
    }
    bool found = false;
    for (ModelSpec& spec : flags.options.models) {
      if (spec.name != entry.substr(0, equals)) continue;
      spec.aliases.push_back(entry.substr(equals + 1));
      found = true;
    }
    if (!found) {
      return InvalidArgument("--alias: no model is called '" + entry.substr(0, equals) + "'");
    }
  }
  return OkStatus();
}

Status ReadObjectives(ServeFlags& flags) {
  for (const std::string& entry : flags.objectives) {
    const size_t equals = entry.rfind('=');
    const auto priority = equals == std::string::npos || equals == 0
                              ? std::nullopt
                              : ParseNumber<int32_t>(std::string_view(entry).substr(equals + 1));
    if (!priority) {
      return InvalidArgument("--objective: expected NAME=PRIORITY, a whole number, got '" + entry +
                             "'");
    }
    flags.options.objectives[entry.substr(0, equals)] = *priority;
  }
  return OkStatus();
}

std::string Gigabytes(int64_t bytes) {
  return bytes < 100'000'000 ? fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6)
                             : fmt::format("{:.2f} GB", static_cast<double>(bytes) / 1e9);
}

// What this command says may wait for no reader: the same thread waits for SIGTERM.
void Say(std::string text) {
  LineWriter::Stderr().Write(std::move(text));
}

void PrintSummary(const ServerSummary& summary) {
  std::string out;
  for (const ModelMemory& model : summary.models) {
    out += fmt::format(
        "  {}: weights {}, activations {}, KV {} = {} positions (context {})\n", model.name,
        Gigabytes(model.weight_bytes), Gigabytes(model.activation_bytes), Gigabytes(model.kv_bytes),
        model.kv_token_bytes > 0 ? model.kv_bytes / model.kv_token_bytes : 0, model.max_context);
  }
  int64_t total = 0;
  for (const ModelMemory& model : summary.models) {
    total += model.total_bytes();
  }
  out += fmt::format("  memory: {} of a budget of {}\n", Gigabytes(total),
                     Gigabytes(summary.budget_bytes));
  for (const std::string& failed : summary.failed) out += "  not loaded: " + failed + "\n";
  out += summary.num_keys > 0
             ? fmt::format("  keys: {}{}\n", summary.num_keys, summary.has_tls ? ", TLS" : "")
             : fmt::format("  keys: none, who reaches it may use it{}\n",
                           summary.has_tls ? "; TLS" : "");
  if (!summary.admin_url.empty()) out += "  admin: " + summary.admin_url + "\n";
  const std::string where = !summary.url.empty() ? summary.url + "/v1" : summary.unix_path;
  Say(fmt::format("rill: serving {} model{} after {:.1f} s\n{}rill: ready on {}\n",
                  summary.models.size(), summary.models.size() == 1 ? "" : "s", summary.load_s, out,
                  where));
}

// Of the terminal on stderr; 80 where it does not say.
size_t TerminalColumns() {
  winsize size = {};
  return ioctl(2, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

// One line that is written again each second, no longer than the terminal is wide: what wraps could
// not be wiped.
void PrintStatus(const ServerStatus& status) {
  // One that waits for a reader would be old when it is read.
  if (!LineWriter::Stderr().idle()) return;
  auto share = [](double value) {
    return value < 0 ? std::string("?") : fmt::format("{:.0f} %", value * 100);
  };
  const std::string memory = share(status.memory_share), compute = share(status.compute_share),
                    kv = share(status.kv_share);
  const char* const draining = status.draining ? "draining, " : "";
  const size_t columns = TerminalColumns() - 1;
  std::string line = fmt::format(
      "{}{} running, {} waiting | {:.0f} tok/s out, {:.0f} in | of the machine: memory {}, compute "
      "{}, KV {}",
      draining, status.running, status.waiting, status.output_tokens_per_s,
      status.prompt_tokens_per_s, memory, compute, kv);
  // All of it, in fewer words, on 80 columns.
  if (line.size() > columns) {
    line = fmt::format("{}{} run {} wait | tok/s {:.0f} out {:.0f} in | mem {} comp {} KV {}",
                       draining, status.running, status.waiting, status.output_tokens_per_s,
                       status.prompt_tokens_per_s, memory, compute, kv);
  }
  line.resize(std::min(line.size(), columns));
  Say("\r\x1b[K" + line);
}

Status Serve(ServeFlags& flags) {
  ServerOptions& options = flags.options;
  const int max_sequences = options.load.max_sequences;
  options.load = flags.model.options;
  options.load.max_sequences = max_sequences;
  RILL_RETURN_IF_ERROR(ReadModels(flags));
  RILL_RETURN_IF_ERROR(ReadObjectives(flags));
  for (const std::string& setting : flags.limits) {
    if (const Status status = SetServerLimit(setting, options.limits); !status.ok()) {
      return status.WithPrefix("--limit");
    }
  }
  RILL_ASSIGN_OR_RETURN(options.memory_bytes, ParseBytes("--memory", flags.memory));
  RILL_ASSIGN_OR_RETURN(options.kv_bytes, ParseBytes("--kv-memory", flags.kv_memory));
  if (const char* key = std::getenv("RILL_API_KEY")) {
    // A secret that was not filled in must not open the server.
    if (!*key) return InvalidArgument("RILL_API_KEY: empty; unset it for a server without keys");
    options.api_keys.emplace_back(key);
  }
  options.log_requests = !flags.no_request_log;
  options.vllm_metrics = flags.metrics_compat == "vllm";
  // The live line and a line per request would write over each other: who asks for these there has
  // no live line.
  const bool logs_here = options.log_file.empty() && options.log_format != "none";
  const bool live =
      StderrIsTerminal() && !flags.quiet && !(logs_here && flags.log_format->count() > 0);
  if (live && logs_here) options.log_format = "none";
  if (!flags.quiet) {
    options.on_started = PrintSummary;
    options.on_notice = [live](const std::string& notice) {
      Say(fmt::format("{}rill: {}\n", live ? "\r\x1b[K" : "", notice));
    };
  }
  if (live) options.on_status = PrintStatus;
  // The server takes these signals; just before it does and after its end they end the process as
  // it would have ended. An error is told on a stderr that may take nothing: interrupted as ever.
  for (const int number : {SIGTERM, SIGINT}) std::signal(number, [](int) { _exit(kExitOk); });
  const Status status = RunServer(options);
  if (!status.ok()) {
    for (const int number : {SIGTERM, SIGINT}) std::signal(number, SIG_DFL);
  }
  LineWriter::Stderr().Flush(std::chrono::milliseconds(500));
  return status;
}

}  // namespace

void AddServe(CLI::App& app, CommandContext& context) {
  auto flags = std::make_shared<ServeFlags>();
  ServerOptions& options = flags->options;
  options.load.max_sequences = 64;
  CLI::App* command = app.add_subcommand("serve", "Serve models over OpenAI's API");
  command
      ->add_option("MODEL", flags->models,
                   "[NAME=]MODEL: a pulled model's name, a GGUF file or a Hugging Face folder; "
                   "several share one memory budget (default: smollm2)")
      ->expected(0, -1);
  flags->model.AddTo(*command, /*model_positional=*/false, /*model_required=*/false);

  const char* group = "Serving";
  command
      ->add_option("--served-model-name", flags->names,
                   "What clients call the models, in order; repeatable")
      ->group(group);
  command
      ->add_option("--alias", flags->aliases,
                   "One more name: ALIAS of the first model, or NAME=ALIAS; repeatable")
      ->group(group);
  command
      ->add_flag("--any-model-name", options.any_model_name,
                 "Answer unknown model names with the first model")
      ->group(group);
  command->add_option("--max-sequences", options.load.max_sequences, "Choices computed at once")
      ->check(CLI::Range(1, 256))
      ->capture_default_str()
      ->group(group);
  command
      ->add_option("--max-waiting", options.max_waiting, "Requests in a model's queue; more: 503")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str()
      ->group(group);
  command
      ->add_option(
          "--tenant-share", options.tenant_share,
          "Share of a model's queue that one API key may fill, and less where others wait; "
          "more: 503 (1: all of it)")
      ->check(Between(0.01, 1))
      ->capture_default_str()
      ->group(group);
  command
      ->add_option(
          "--objective", flags->objectives,
          "NAME=PRIORITY: of requests with that x-llm-d-inference-objective and no priority "
          "of their own (higher first); repeatable")
      ->group(group);
  command
      ->add_option(
          "--itl-target-ms", options.itl_target_ms,
          "Prompts are computed in parts small enough for the time between two tokens of a "
          "running stream to stay below this (0: as fast as they go)")
      ->check(Between(0, 3600000))
      ->capture_default_str()
      ->group(group);
  command
      ->add_flag(
          "--reserve-worst-case", options.reserve_worst_case,
          "Run a request only when KV memory covers max_tokens of all that run, not by their "
          "predicted lengths: no answer ever pauses, fewer run at once")
      ->group(group);
  command
      ->add_option("--queue-timeout", options.queue_timeout_s,
                   "Seconds that a request may wait to run; then 503 (0: for ever)")
      ->check(Between(0, 86400))
      ->capture_default_str()
      ->group(group);
  command
      ->add_option(
          "--request-timeout", options.total_timeout_s,
          "Seconds that a request may take in all; then it ends with an error (0: no limit)")
      ->check(Between(0, 86400))
      ->capture_default_str()
      ->group(group);
  command
      ->add_option("--seed", options.seed,
                   "What answers without a seed of their own are drawn from (default: random)")
      ->group(group);
  command
      ->add_option("--memory", flags->memory,
                   "Memory for all models together, as 8G (default: 90 % of what is free)")
      ->check(FileName("a size such as 8G"))
      ->group(group);
  command
      ->add_option("--kv-memory", flags->kv_memory,
                   "KV memory per model, as 4G, and never less than one context takes (default: "
                   "half of what the budget leaves, --max-sequences contexts at most)")
      ->check(FileName("a size such as 4G"))
      ->group(group);
  command
      ->add_flag("--preallocate", options.preallocate,
                 "Take the KV memory at the start, not as it is first used")
      ->group(group);
  command
      ->add_flag("--scrub-kv", options.scrub_kv,
                 "Overwrite KV memory once no request and no cached prefix holds it any more")
      ->group(group);
  command->add_option("--max-choices", options.max_choices, "Largest n and best_of")
      ->check(CLI::Range(1, 128))
      ->capture_default_str()
      ->group(group);
  command->add_option("--max-logprobs", options.max_logprobs, "Largest top_logprobs and logprobs")
      ->check(CLI::Range(0, 64))
      ->capture_default_str()
      ->group(group);
  command->add_option("--tokenise-threads", options.tokenise_threads, "Threads for prompts")
      ->check(CLI::Range(1, 64))
      ->capture_default_str()
      ->group(group);
  command
      ->add_flag(
          "--tokenizer-info,!--no-tokenizer-info", options.tokenizer_info,
          "GET /tokenizer_info: the chat template and special tokens, which lm-eval asks for "
          "(default: 404)")
      ->group(group);

  group = "Network";
  command
      ->add_option("--host", options.addresses,
                   "Address to listen on; repeatable (default: 127.0.0.1)")
      ->group(group);
  command->add_option("-p,--port", options.port, "Port (0: any free one; default: 8080)")
      ->check(CLI::Range(0, 65535))
      ->group(group);
  command->add_option("--unix", options.unix_path, "Also listen on this Unix socket")
      ->check(FileName())
      ->group(group);
  command
      ->add_option("--admin-port", options.admin_port,
                   "Admin routes on this loopback port (0: any; default: nowhere)")
      ->check(CLI::Range(-1, 65535))
      ->group(group);
  command->add_option("--admin-unix", options.admin_unix_path, "Admin routes on this Unix socket")
      ->check(FileName())
      ->group(group);
  command
      ->add_flag("--admin-on-main", options.admin_on_main,
                 "Admin routes on the main address too, for keys marked admin")
      ->group(group);
  command->add_option("--tls-cert", options.tls_certificate, "PEM file: the certificate chain")
      ->check(FileName())
      ->group(group);
  command->add_option("--tls-key", options.tls_private_key, "PEM file: the private key")
      ->check(FileName())
      ->group(group);
  command->add_option("--io-threads", options.io_threads, "Threads for connections")
      ->check(CLI::Range(1, 64))
      ->capture_default_str()
      ->group(group);
  command
      ->add_option("--limit", flags->limits,
                   "NAME=VALUE: a limit of requests and connections (docs/server.md lists them); "
                   "repeatable")
      ->group(group);
  command->add_option("--max-body", options.max_body_bytes, "Largest request body, bytes")
      ->check(CLI::Range(int64_t{1024}, int64_t{1} << 30))
      ->capture_default_str()
      ->group(group);

  group = "Access";
  command
      ->add_option(
          "--key-file", options.key_file,
          "API keys, one a line: NAME KEY|sha256:HEX (a KEY of 8 to 512 characters) [admin] "
          "[max_concurrent=N] [requests_per_minute=N] [weight=N]; $RILL_API_KEY is one more")
      ->envname("RILL_KEY_FILE")
      ->check(FileName())
      ->group(group);
  command
      ->add_flag("--allow-unauthenticated", options.allow_unauthenticated,
                 "Listen beyond this machine without keys")
      ->group(group);
  command->add_option("--allowed-host", options.allowed_hosts, "Name allowed in Host; repeatable")
      ->group(group);
  command
      ->add_option("--allowed-origin", options.allowed_origins,
                   "Origin whose pages may call (CORS); repeatable")
      ->group(group);
  command->add_flag("--public-metrics", options.public_metrics, "GET /metrics without a key")
      ->group(group);

  group = "Reporting";
  flags->log_format =
      command
          ->add_option("--log-format", options.log_format,
                       "text, json or none (default: text; on a terminal one live line instead)")
          ->check(CLI::IsMember({"text", "json", "none"}))
          ->capture_default_str()
          ->group(group);
  command->add_option("--log-file", options.log_file, "Log to this file (default: stderr)")
      ->check(FileName())
      ->group(group);
  command->add_flag("--no-request-log", flags->no_request_log, "No line per request")->group(group);
  command
      ->add_flag("--log-prompts", options.log_prompts,
                 "Log request bodies too: they hold what users wrote")
      ->group(group);
  command
      ->add_option("--metrics-compat", flags->metrics_compat,
                   "vllm: its metric names beside our own; off")
      ->check(CLI::IsMember({"vllm", "off"}))
      ->capture_default_str()
      ->group(group);
  command
      ->add_option("--drain-timeout,--drain", options.drain_timeout_s,
                   "Seconds that requests get to end after SIGTERM or Ctrl-C")
      ->check(CLI::Range(0, 86400))
      ->capture_default_str()
      ->group(group);
  command
      ->add_option("--drain-delay", options.drain_delay_s,
                   "Seconds that the listeners stay after SIGTERM, with /ready failing, so that a "
                   "load balancer notices (not after Ctrl-C)")
      ->check(CLI::Range(0, 3600))
      ->capture_default_str()
      ->group(group);
  command
      ->add_option("--watchdog", options.watchdog_s,
                   "Seconds after which a step that has not ended makes /live fail (0: never)")
      ->check(Between(0, 86400))
      ->capture_default_str()
      ->group(group);
  command->add_flag("-q,--quiet", flags->quiet, "No summary, no live line")->group(group);

  command->footer(
      "Serves /v1/chat/completions, /v1/completions, /v1/models, /tokenize, /metrics and more:\n"
      "docs/server.md. SIGTERM lets requests end, a second one stops; SIGHUP reads keys and\n"
      "certificates again and opens the log file anew.\n\n"
      "  rill serve smollm2\n"
      "  curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \\\n"
      "       -d '{\"model\":\"smollm2\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}'");
  command->callback([flags, &context] {
    const Status status = Serve(*flags);
    context.exit_code = status.ok() ? kExitOk : ReportError(status, flags->model.json);
  });
}

}  // namespace rill::app
