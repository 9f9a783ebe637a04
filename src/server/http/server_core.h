// ServerCore: what all connections of one HttpServer share. Lives as long as the last of them.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "server/http/body_budget.h"
#include "server/http/connection_places.h"
#include "server/http/gate.h"
#include "server/http/http_server.h"

namespace rill::server {

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
  // `entry`: of the connection among those that may go, if it has one.
  void Release(const ConnectionPlaces::Handle* entry = nullptr) noexcept;

 private:
  std::shared_ptr<ServerCore> core_;
  const std::string address_;
  const bool is_admin_;
  bool authenticated_ = false;
};

// Atomic twins of HttpCounters; see there.
struct CoreCounters {
  std::atomic<uint64_t> connections_accepted{0}, connections_refused{0}, accept_errors{0},
      tls_failures{0}, requests{0}, requests_now{0}, malformed{0}, auth_failures{0},
      auth_throttled{0}, refused_draining{0}, head_timeouts{0}, body_timeouts{0},
      slow_readers_cut{0}, clients_gone{0}, bytes_in{0}, bytes_out{0};
  std::atomic<uint64_t> responses_by_class[6] = {};
};

class ServerCore {
 public:
  explicit ServerCore(HttpServerOptions options)
      : options_(std::move(options)),
        places_(limits().max_connections, limits().max_admin_connections,
                limits().max_unauthenticated_connections, std::max(1, options_.io_threads)),
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

  ConnectionPlaces& places() { return places_; }

  void RequestBegins() { counters_.requests_now.fetch_add(1); }
  void RequestEnds();
  bool WaitIdle(std::chrono::steady_clock::time_point deadline);

  BodyBudget& bodies() { return bodies_; }

  std::atomic<bool> closing_idle{false};  // StopAccepting(): idle connections end

 private:
  HttpServerOptions options_;
  std::unique_ptr<Gate> gate_;
  CoreCounters counters_;
  mutable std::mutex tls_mutex_;
  std::shared_ptr<boost::asio::ssl::context> tls_;
  ConnectionPlaces places_;
  std::mutex wait_mutex_;
  std::condition_variable wait_;
  BodyBudget bodies_;
};

// Random 128 bits as "req_" and 32 hexadecimal digits.
std::string NewRequestId();

}  // namespace rill::server
