// RunServer: the OpenAI-compatible server, from options to the last answer.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "rill/llm.h"
#include "rill/server_limits.h"
#include "rill/status.h"

namespace rill {

struct ModelSpec {
  std::string path;                  // a pulled model's name, a file or a folder
  std::string name;                  // what clients call it
  std::vector<std::string> aliases;  // further names
};

// Bytes that one model takes.
struct ModelMemory {
  std::string name;
  std::string path;
  int32_t max_context = 0;
  int64_t weight_bytes = 0;
  int64_t activation_bytes = 0;
  int64_t kv_bytes = 0;
  int64_t kv_token_bytes = 0;  // kv_bytes / kv_token_bytes: positions of all sequences together

  int64_t total_bytes() const { return weight_bytes + activation_bytes + kv_bytes; }
};

// What the server is, once it listens.
struct ServerSummary {
  std::string url;        // "http://127.0.0.1:8080"
  std::string unix_path;  // "" without one
  std::string admin_url;  // "" without one
  bool has_tls = false;
  int num_keys = 0;  // 0: everybody who reaches it may use it
  int64_t budget_bytes = 0;
  std::vector<ModelMemory> models;
  std::vector<std::string> failed;  // "name: why it did not load"
  double load_s = 0;
};

// A moment: rates over the last second.
struct ServerStatus {
  int running = 0, waiting = 0;
  int streams = 0;  // HTTP requests under way
  double prompt_tokens_per_s = 0, output_tokens_per_s = 0;
  // Shares of what this machine can do, in [0, 1]; < 0: not known.
  double memory_share = -1;   // bytes that weights and KV cost, of the measured memory bandwidth
  double compute_share = -1;  // multiply-adds, of the measured peak
  double kv_share = 0;        // pages in use
  double busy_share = 0;      // time in steps
  bool draining = false;
};

struct ServerOptions {
  std::vector<ModelSpec> models;  // at least one
  LoadOptions load;               // of every model; max_sequences: choices at once
  int64_t memory_bytes = 0;       // of all models together; 0: 90 % of what is available
  int64_t kv_bytes = 0;           // KV memory per model; 0: its part of half of what is left
  bool preallocate = false;       // KV memory is resident before a model serves
  bool scrub_kv = false;          // KV memory is overwritten once nothing holds it any more
  int32_t max_waiting = 1024;     // requests in a model's queue
  double tenant_share = 0.5;      // of those, for one API key; see docs/scheduler.md
  // Priorities of requests that name an objective in x-llm-d-inference-objective, and none in their
  // body: higher first, as in llm-d's InferenceObjective.
  std::map<std::string, int32_t> objectives;
  double itl_target_ms = 100;  // between two tokens of a stream, while prompts come; 0: none
  // Run only what KV memory covers to the last token that it may have, not what it is expected to.
  bool reserve_worst_case = false;
  double queue_timeout_s = 60;   // a request that waits longer: 503; 0: for ever
  double total_timeout_s = 0;    // a request that takes longer ends with an error; 0: never
  std::optional<uint64_t> seed;  // of requests without one; absent: drawn at the start
  int32_t tokenise_threads = 1;
  int32_t max_choices = 16;   // n and best_of, at most 128
  int32_t max_logprobs = 20;  // top_logprobs and logprobs, at most 64
  bool any_model_name = false;
  bool tokenizer_info = false;  // GET /tokenizer_info: the template and the special tokens
  bool public_metrics = false;  // /metrics without a key, where keys are configured
  bool vllm_metrics = true;     // vllm:… names beside rill_…

  // Where to listen. Nothing of it beside the sockets of a service manager (LISTEN_FDS).
  std::vector<std::string> addresses;  // empty: 127.0.0.1
  std::optional<int> port;             // absent: 8080; 0: any free one
  std::string unix_path;
  int admin_port = -1;  // loopback; -1: none, 0: any free one
  std::string admin_unix_path;
  bool admin_on_main = false;
  std::string tls_certificate, tls_private_key;  // PEM files
  std::string key_file;
  std::vector<std::string> api_keys;  // in clear, each its own tenant
  bool allow_unauthenticated = false;
  std::vector<std::string> allowed_hosts, allowed_origins;
  int io_threads = 1;
  int64_t max_body_bytes = 32 << 20;
  ServerLimits limits;

  std::string log_format = "text";  // "text", "json" or "none"
  std::string log_file;             // "": stderr
  bool log_requests = true;         // one line per request
  bool log_prompts = false;         // bodies too: for debugging, never in production
  // After the first SIGTERM: requests under way have drain_timeout_s seconds; the listeners stay,
  // and answer 503, for at least drain_delay_s, so that who balances the load sees /ready fail
  // first. (15 s for balancers to notice, and 60 s in all, is what Kubernetes' presets leave.)
  int drain_timeout_s = 45;
  int drain_delay_s = 15;
  double watchdog_s = 60;  // a step of the engine that takes longer: /live fails; 0: never

  // On the thread that called RunServer, which waits for signals: none of them may block for long.
  std::function<void(const ServerSummary&)> on_started;
  std::function<void(const ServerStatus&)> on_status;  // once a second
  std::function<void(const std::string&)> on_notice;   // "draining: 12 requests under way"
};

// Serves until SIGTERM or SIGINT: the first drains (SIGINT, and with sockets of a service manager
// SIGTERM too, without drain_delay_s), a second one stops at once. SIGHUP opens log_file
// by its name again and reads keys and certificates again, all of them or none. Blocks these
// signals in the calling thread until it returns; call it before other threads start. A model that
// does not load is told in the summary, and the others serve. SIGTERM or SIGINT while models load
// or before ends the process there and then, with exit code 0; so it does, from any thread, when a
// step or a system call does not end: 1 s after a second one, 2 s after the drain's time. Errors:
// bad options, an address beside the sockets of a service manager, a port in use, no model that
// loads.
Status RunServer(const ServerOptions& options);

}  // namespace rill
