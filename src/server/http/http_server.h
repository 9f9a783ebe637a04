// HttpServer: HTTP/1.1 over TCP, TLS and Unix sockets, strict by design.
//
// Threads: I/O threads of its own, each with its own event loop; a connection stays on one of them.
// Handlers run there. Start(), Drain… and Stop() are for one owner thread; port(), counters() and
// the setters below say when any thread may call them.
//
// Policy, in this order, for every request (no route is outside it):
//   head well-formed (http/head_parser.h) → Host and Origin allowed → key valid for the route's
//   access → route and method exist → not draining → the key's own limits → body within limits.
// A request that fails framing is answered and its connection closed: what follows is never read.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "rill/status.h"
#include "server/http/api_keys.h"
#include "server/http/message.h"
#include "server/http/router.h"

namespace rill::server {

struct HttpLimits {
  size_t max_request_line_bytes = 8 << 10;     // 414
  size_t max_header_fields = 100;              // 431
  size_t max_head_bytes = 32 << 10;            // 431
  size_t max_body_bytes = 32u << 20;           // 413
  size_t max_buffered_bytes = 1024u << 20;     // request bodies of all connections together: 503
  size_t max_unsent_bytes = 256 << 10;         // of one stream: the client is cut (Responder)
  size_t max_pipelined_bytes = 64 << 10;       // read ahead while an answer is under way
  int max_requests_per_connection = 10'000;    // then Connection: close
  int max_connections = 10'000;                // an idle or slow one is closed, else 503
  int max_admin_connections = 64;              // of the admin listeners, beside those: the same
  int max_connections_per_ip = 512;            // not for loopback and Unix peers (a proxy)
  int max_unauthenticated_connections = 1024;  // no valid key yet, where keys are configured
  bool loopback_has_ip_limit = false;          // connections and wrong keys: loopback too
  std::chrono::milliseconds tls_handshake_timeout{10'000};
  std::chrono::milliseconds head_timeout{10'000};        // first to last byte of a head: 408
  std::chrono::milliseconds body_window{30'000};         // stall or less than the rate below: 408
  size_t body_min_bytes_per_window = 30 << 10;           // 1 KiB/s over 30 s
  std::chrono::milliseconds keep_alive_timeout{75'000};  // without a byte of the next request
  std::chrono::milliseconds write_stall{30'000};         // unsent bytes, and no progress: cut
  std::chrono::milliseconds ping_interval{15'000};       // SSE comment when nothing was sent
  // A peer that vanished without a word: probed after so long without a packet, and given up when
  // sent bytes or probes stay unacknowledged for so long, or after three probes. Whole seconds.
  std::chrono::milliseconds half_open{30'000};
  std::chrono::milliseconds linger{2'000};  // closing: read the rest for so long
  // Wrong keys of one IP, then 429. Loopback and Unix peers: of the X-Forwarded-For's.
  int auth_failures_per_minute = 30;
};

struct HttpServerOptions {
  // Where to listen. Several addresses: host names or literals, "0.0.0.0", "::".
  std::vector<std::string> addresses = {"127.0.0.1"};
  int port = 0;                    // 0: any free one, see HttpServer::port()
  std::string unix_path;           // also, or (with addresses empty) only, this Unix socket
  int unix_mode = 0600;            // its permissions
  std::vector<int> inherited_fds;  // listening sockets by socket activation (http/systemd.h)
  // Admin routes: on this loopback port (0 any, -1 none) and Unix socket; on the main listeners
  // only when admin_on_main.
  int admin_port = -1;
  std::string admin_unix_path;
  bool admin_on_main = false;

  std::string tls_certificate;  // PEM file, the chain; "" = no TLS. Unix sockets never have TLS
  std::string tls_private_key;  // PEM file

  std::vector<ApiKey> api_keys;  // none: no key is asked for
  // Without keys a listener that is not loopback or Unix is refused unless this is set.
  bool allow_unauthenticated = false;

  // Names allowed in Host beside localhost, loopback and the addresses above, checked on loopback
  // listeners (DNS rebinding), and on all of them when the list is not empty. "*": any.
  std::vector<std::string> allowed_hosts;
  // Origins (scheme://host[:port]) whose pages may call: CORS. Empty: none. "*": any, without
  // credentials. A request with any other foreign Origin is refused with 403.
  std::vector<std::string> allowed_origins;

  int io_threads = 1;
  double tenant_share = 0.5;  // of what bodies may take, for one key; (0, 1]. See BodyBudget
  HttpLimits limits;

  // One call per answered request, on an I/O thread; must not block. `route` is the route's
  // pattern ("" = none matched), so labels made of it are bounded.
  struct AccessRecord {
    std::string request_id, method, route, peer, tenant, trace_id, objective;
    int status = 0;  // 0: the client went away before a status was sent
    bool complete = false;
    uint64_t body_bytes_in = 0, body_bytes_out = 0;
    std::chrono::steady_clock::time_point received, ended;
  };
  std::function<void(const AccessRecord&)> on_request_end;
  // Messages for the operator ("accept: too many open files"); any thread.
  std::function<void(const std::string&)> on_warning;
  // Body of the transport's own errors; default: OpenAI's form (server/errors.h).
  std::function<std::string(int status, const std::string& code, const std::string& message)>
      error_body;
};

// Totals since start, but for the two that say "now".
struct HttpCounters {
  uint64_t connections_accepted = 0;
  uint64_t connections_now = 0;
  uint64_t admin_connections_now = 0;  // of those
  uint64_t connections_refused = 0;    // over a limit, or no descriptor
  uint64_t connections_evicted = 0;    // closed to make room
  uint64_t accept_errors = 0;
  uint64_t tls_failures = 0;
  uint64_t requests = 0;
  uint64_t requests_now = 0;
  uint64_t responses_by_class[6] = {};  // [2] = 2xx, …
  uint64_t malformed = 0;               // refused by the head parser or the chunk decoder
  uint64_t auth_failures = 0;           // 401
  uint64_t auth_throttled = 0;          // 429 for wrong keys
  uint64_t refused_draining = 0;        // 503 while draining
  uint64_t head_timeouts = 0;
  uint64_t body_timeouts = 0;
  uint64_t slow_readers_cut = 0;
  uint64_t clients_gone = 0;  // disconnected before the end of their answer
  uint64_t bytes_in = 0;
  uint64_t bytes_out = 0;
};

class HttpServer {
 public:
  // Binds and listens (connections wait in the backlog until Start()). Fails on an address in use,
  // a bad certificate, a malformed route, or an unsafe combination of options.
  static Result<std::unique_ptr<HttpServer>> Create(HttpServerOptions options,
                                                    std::vector<Route> routes);
  virtual ~HttpServer() = default;  // Stop()s

  virtual int port() const = 0;        // of the first TCP listener, 0 without one
  virtual int admin_port() const = 0;  // 0 without one
  virtual void Start() = 0;

  // Any thread. The routes that do not say while_draining answer 503 `draining` with Retry-After,
  // and every answer from now on says Connection: close. Listeners stay open.
  virtual void BeginDrain(std::chrono::seconds retry_after) = 0;
  // Closes the listeners; connections stay as they are.
  virtual void CloseListeners() = 0;
  // Closes the listeners and idle connections; requests under way go on. A Unix socket's path is
  // removed.
  virtual void StopAccepting() = 0;
  // True when no request is under way, at the latest at `deadline` (false if some still are).
  virtual bool WaitIdle(std::chrono::steady_clock::time_point deadline) = 0;
  // Drops every connection and joins the threads. No handler or callback runs afterwards.
  virtual void Stop() = 0;

  // Any thread. Takes these keys for new requests, and reads the certificate again for new
  // connections; what is wrong with either changes nothing. A key that stays keeps its counts.
  virtual Status Reload(std::vector<ApiKey> keys) = 0;

  virtual HttpCounters counters() const = 0;             // any thread
  virtual const HttpLimits& limits() const = 0;          // those in force
  virtual const std::vector<Route>& routes() const = 0;  // as given
};

}  // namespace rill::server
