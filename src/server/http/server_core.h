// ServerCore: what all connections of one HttpServer share. Lives as long as the last of them.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <string>

#include "server/http/body_budget.h"
#include "server/http/gate.h"
#include "server/http/http_server.h"

namespace rill::server {

class Connection;
class ServerCore;

// A connection's place in the limits, taken when it is accepted, given back once.
class ConnectionSlot {
 public:
  // `address` is empty when the connection does not count for its address. One of an admin
  // listener has a place of those, and is no stranger.
  ConnectionSlot(std::shared_ptr<ServerCore> core, std::string address, bool is_admin);
  ~ConnectionSlot() { Release(); }
  ConnectionSlot(const ConnectionSlot&) = delete;
  ConnectionSlot& operator=(const ConnectionSlot&) = delete;
  void Authenticated();
  bool authenticated() const { return authenticated_; }
  void Release();

 private:
  std::shared_ptr<ServerCore> core_;
  const std::string address_;
  const bool is_admin_;
  bool authenticated_ = false;
};

// Atomic twins of HttpCounters; see there.
struct CoreCounters {
  std::atomic<uint64_t> connections_accepted{0}, connections_now{0}, connections_refused{0},
      connections_evicted{0}, accept_errors{0}, tls_failures{0}, requests{0}, requests_now{0},
      malformed{0}, auth_failures{0}, auth_throttled{0}, refused_draining{0}, head_timeouts{0},
      body_timeouts{0}, slow_readers_cut{0}, clients_gone{0}, bytes_in{0}, bytes_out{0};
  std::atomic<uint64_t> responses_by_class[6] = {};
};

class ServerCore {
 public:
  explicit ServerCore(HttpServerOptions options)
      : options_(std::move(options)),
        bodies_(limits().max_buffered_bytes, limits().max_body_bytes, options_.tenant_share) {}

  const HttpServerOptions& options() const { return options_; }
  const HttpLimits& limits() const { return options_.limits; }
  Gate& gate() { return *gate_; }
  void set_gate(std::unique_ptr<Gate> gate) { gate_ = std::move(gate); }
  CoreCounters& counters() { return counters_; }

  // Body of an error in the operator's form, else OpenAI's.
  std::string ErrorBody(const HttpFault& fault) const;
  void Warn(const std::string& text) const;

  std::shared_ptr<boost::asio::ssl::context> tls() const;
  // The certificate and its key as the files are now.
  Result<std::shared_ptr<boost::asio::ssl::context>> ReadTls() const;
  void UseTls(std::shared_ptr<boost::asio::ssl::context> tls);

  // Connections that may be closed to make room: none of them has a request under way. The longest
  // idle goes first; without an idle one the one whose head began first, once it has taken
  // kSlowHead: clients send heads whole. With `strangers_only` those that have shown a valid key
  // are spared. Connections of admin listeners make room for those alone, and these for others.
  static constexpr std::chrono::milliseconds kSlowHead{1000};
  struct Evictable {
    std::weak_ptr<Connection> connection;
    bool is_admin = false;
    bool authenticated = false;
    // When its head began; {}: it is idle.
    std::chrono::steady_clock::time_point head_began = {};
  };
  using EvictableList = std::list<Evictable>;
  EvictableList::iterator AddIdle(Evictable entry);
  void HeadBegins(EvictableList::iterator entry, std::chrono::steady_clock::time_point now);
  void RemoveEvictable(EvictableList::iterator entry);
  // False when there is none. One of another I/O thread is told there, and if it has become busy
  // the next goes in its place: until then there may be one connection more than the limit.
  bool EvictOne(bool is_admin, bool strangers_only);

  // Whether one more connection of this kind of listener is beyond its limit.
  bool IsFull(bool is_admin) const;

  void RequestBegins() { counters_.requests_now.fetch_add(1); }
  void RequestEnds();
  bool WaitIdle(std::chrono::steady_clock::time_point deadline);

  BodyBudget& bodies() { return bodies_; }

  std::atomic<int> unauthenticated_now{0};
  std::atomic<uint64_t> admin_connections_now{0};  // of counters().connections_now
  std::atomic<bool> closing_idle{false};           // StopAccepting(): idle connections end

 private:
  HttpServerOptions options_;
  std::unique_ptr<Gate> gate_;
  CoreCounters counters_;
  mutable std::mutex tls_mutex_;
  std::shared_ptr<boost::asio::ssl::context> tls_;
  std::mutex evictable_mutex_;
  EvictableList idle_, heads_;  // the oldest first
  std::mutex wait_mutex_;
  std::condition_variable wait_;
  BodyBudget bodies_;
};

// Random 128 bits as "req_" and 32 hexadecimal digits.
std::string NewRequestId();

}  // namespace rill::server
