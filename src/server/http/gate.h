// Gate: the one place that decides whether a request with a well-formed head goes on.
//
// Host and Origin, then the key, then the route, the drain, the key's own limits, and the body's
// announced size, in this order: nobody without a key learns which routes exist. Thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/http/head_parser.h"
#include "server/http/http_server.h"
#include "server/http/origin_policy.h"
#include "server/http/peer_table.h"
#include "server/http/target.h"

namespace rill::server {

// What one key has used: requests under way and in the last minute.
struct KeyBudget {
  explicit KeyBudget(uint64_t key_id) : id(key_id) {}

  const uint64_t id;  // never given to another key
  std::mutex mutex;
  int in_flight = 0;
  double tokens = -1;  // bucket of requests_per_minute; -1: full, not used yet
  std::chrono::steady_clock::time_point refilled;
};

// A key of the list in force. Shared by the key's requests.
class KeyUse {
 public:
  KeyUse(ApiKey key, std::shared_ptr<KeyBudget> budget)
      : key_(std::move(key)), budget_(std::move(budget)) {}
  const ApiKey& key() const { return key_; }
  uint64_t id() const { return budget_->id; }
  const std::shared_ptr<KeyBudget>& budget() const { return budget_; }
  // Seconds to wait when a limit is reached; 0: admitted, to be released.
  int Admit(std::chrono::steady_clock::time_point now);
  void Release();

 private:
  const ApiKey key_;
  const std::shared_ptr<KeyBudget> budget_;
};

// Who is connected.
struct GatePeer {
  std::string address;    // key of PeerTable
  bool is_local = false;  // on loopback or a Unix socket: a program of this machine, or a proxy
};

struct ListenerTraits {
  bool is_loopback = false;  // TCP on a loopback address
  bool is_unix = false;
  bool is_admin = false;
  bool tls = false;
};

struct Verdict {
  HttpFault fault;              // status 204: a preflight, answered with `headers`
  std::vector<Header> headers;  // of the answer, whichever it is: CORS, Allow, Retry-After, …
  const Route* route = nullptr;
  Target target;
  NameValues params;
  std::shared_ptr<KeyUse> key_use;  // admitted; null without key
  bool authenticated = false;       // a valid key came, whatever the rest says
  bool is_admin = false;
  uint64_t max_body = 0;
};

class Gate {
 public:
  static Result<std::unique_ptr<Gate>> Create(const HttpServerOptions& options,
                                              std::vector<Route> routes);

  Verdict Judge(const RequestHead& head, const ListenerTraits& listener, const GatePeer& peer,
                std::chrono::steady_clock::time_point now);

  // A new list in two steps, so that what else is read again can fail in between and change
  // nothing. A key that is in the list in force goes on with what it has used.
  struct KeyList {
    ApiKeys keys;
    std::vector<std::shared_ptr<KeyUse>> uses;
  };
  Result<std::shared_ptr<const KeyList>> PrepareKeys(std::vector<ApiKey> keys);
  void UseKeys(std::shared_ptr<const KeyList> keys);
  bool has_keys() const;
  // 0: not draining; else the Retry-After of refusals.
  void SetDraining(int retry_after_s) { draining_s_ = retry_after_s; }
  bool draining() const { return draining_s_ != 0; }

  PeerTable& peers() { return peers_; }
  const Router& router() const { return router_; }

 private:
  std::shared_ptr<const KeyList> keys() const;
  // The address whose wrong keys are counted; "" when nobody's are.
  std::string CountedAddress(const RequestHead& head, const GatePeer& peer) const;
  // The key's index, -1 none given or none needed, or a fault in `verdict`.
  int CheckKey(const RequestHead& head, const KeyList& keys, const GatePeer& peer,
               std::chrono::steady_clock::time_point now, Verdict* verdict);

  Gate(Router router, OriginPolicy origins)
      : router_(std::move(router)), origins_(std::move(origins)) {}

  const Router router_;
  const OriginPolicy origins_;
  HttpLimits limits_;
  bool admin_on_main_ = false;
  PeerTable peers_;
  std::atomic<int> draining_s_{0};
  mutable std::mutex keys_mutex_;
  std::shared_ptr<const KeyList> keys_;
  std::atomic<uint64_t> next_key_id_{1};
};

}  // namespace rill::server
