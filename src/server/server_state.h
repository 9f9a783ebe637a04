// ServerState: what the endpoints of one server share.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "rill/server.h"
#include "server/answer_budget.h"
#include "server/http/body_budget.h"
#include "server/http/http_server.h"
#include "server/model_registry.h"
#include "server/request_log.h"
#include "server/worker_pool.h"

namespace rill::server {

// Ids that clients gave to requests under way: a second one of the same tenant and id is refused
// (their log lines could not be told apart). Tenants choose theirs without knowing of each other.
class ActiveIds {
 public:
  bool Insert(const std::string& tenant, const std::string& id) {
    const std::lock_guard lock(mutex_);
    return ids_.emplace(tenant, id).second;
  }
  void Erase(const std::string& tenant, const std::string& id) {
    const std::lock_guard lock(mutex_);
    ids_.erase({tenant, id});
  }

 private:
  std::mutex mutex_;
  std::set<std::pair<std::string, std::string>> ids_;
};

struct ServerState {
  // Loads and unloads that wait for the one under way; more are 503.
  static constexpr size_t kMaxAdminTasks = 16;

  explicit ServerState(const ServerOptions& server_options)
      : options(server_options),
        registry(options),
        workers({.threads = 2, .small_threads = 1, .tenant_share = options.tenant_share}),
        admin({.threads = 1, .max_tasks = kMaxAdminTasks}) {}

  const ServerOptions options;
  // Values of conversations that wait to be tokenised, beside their texts: a value takes up to 20
  // times the memory that it has in a body. Outlives the models, whose requests have parts of it.
  static constexpr size_t kMaxConversationBytes = size_t{256} << 20;
  static constexpr size_t kOneConversationBytes = size_t{64} << 20;
  BodyBudget conversations{kMaxConversationBytes, kOneConversationBytes, options.tenant_share};
  std::unique_ptr<RequestLog> log;
  ModelRegistry registry;
  ActiveIds active_ids;
  AnswerBudget answers;
  // End before the registry does.
  WorkerPool workers;
  WorkerPool admin;  // loads and unloads
  HttpServer* http = nullptr;
  const std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
  std::atomic<bool> ready{false};   // the first load is over and a model serves
  std::atomic<bool> loading{true};  // models of the command line are being loaded
  std::atomic<bool> draining{false};

  // Shares of what the machine can do, over the last second, in [0, 1]; < 0: not known.
  std::atomic<double> memory_share{-1}, compute_share{-1};
  // What was measured at the start; 0: not known. Bytes/s, multiply-adds/s.
  std::atomic<double> memory_bytes_per_s{0}, int8_macs_per_s{0}, f32_macs_per_s{0};
};

}  // namespace rill::server
