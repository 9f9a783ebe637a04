#include "server/http/http_server.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <deque>
#include <new>
#include <thread>
#include <unordered_set>

#include "base/check.h"
#include "server/errors.h"
#include "server/http/connection.h"
#include "server/http/listener.h"
#include "server/http/server_core.h"

namespace rill::server {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

constexpr auto kUse = asio::as_tuple(asio::use_awaitable);
constexpr size_t kScratchBytes = 64 << 10;
// Descriptors that are not client connections: model files, logs, listeners, epoll.
constexpr rlim_t kOtherDescriptors = 128;

// One event loop and its connections.
struct IoThread {
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
  std::unordered_set<std::shared_ptr<Connection>> connections;
  std::string scratch = std::string(kScratchBytes, '\0');
  asio::steady_timer ticker{context};
  bool stopping = false;
  std::thread thread;
};

void RunLoop(const ServerCore& core, IoThread* thread);

// Drops what has come on this socket, a bounded part at a time. True when its end has.
bool ReadAway(int fd) {
  char dropped[4096];
  for (int i = 0; i < 16; ++i) {
    const ssize_t count = ::recv(fd, dropped, sizeof(dropped), MSG_DONTWAIT);
    if (count == 0) return true;
    if (count < 0) return errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR;
  }
  return false;
}

class HttpServerImpl final : public HttpServer {
 public:
  HttpServerImpl(std::shared_ptr<ServerCore> core, std::vector<Listener> listeners)
      : core_(std::move(core)), listeners_(std::move(listeners)) {
    for (int i = 0; i < std::max(1, core_->options().io_threads); ++i) {
      threads_.push_back(std::make_unique<IoThread>());
    }
    for (const Listener& listener : listeners_) {
      if (listener.traits.is_unix) continue;
      int& port = listener.traits.is_admin ? admin_port_ : port_;
      if (port == 0) port = listener.port;
    }
    reserved_fd_ = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    tick_ = TickInterval(core_->limits());
  }
  ~HttpServerImpl() override {
    Stop();
    if (reserved_fd_ >= 0) ::close(reserved_fd_);
    for (const Refused& refused : refused_) ::close(refused.fd);
  }

  int port() const override { return port_; }
  int admin_port() const override { return admin_port_; }
  void Start() override;
  void BeginDrain(std::chrono::seconds retry_after) override {
    core_->gate().SetDraining(std::max(1, static_cast<int>(retry_after.count())));
  }
  void CloseListeners() override;
  void StopAccepting() override;
  bool WaitIdle(Connection::Clock::time_point deadline) override {
    return core_->WaitIdle(deadline);
  }
  void Stop() override;
  Status Reload(std::vector<ApiKey> keys) override;
  HttpCounters counters() const override;
  const HttpLimits& limits() const override { return core_->limits(); }
  const std::vector<Route>& routes() const override { return core_->gate().router().routes(); }

 private:
  // A refused connection whose client may still be sending.
  struct Refused {
    int fd = -1;
    Connection::Clock::time_point until;
  };
  static constexpr size_t kMaxRefused = 64;  // of kOtherDescriptors

  static std::chrono::milliseconds TickInterval(const HttpLimits& limits);
  asio::awaitable<void> Accept(Listener* listener);
  asio::awaitable<void> Ticker(IoThread* thread);
  // Accepts one connection of the backlog. False with errno when there is none to be had.
  bool TakeOne(int listener_fd, const Listener& listener);
  void AcceptOne(int fd, const Listener& listener, const void* address, size_t size);
  void Refuse(int fd, const char* code, bool keep = true);
  void CloseRefused(Connection::Clock::time_point now);
  // Uses the reserved descriptor to take one connection that there is no descriptor for, and drops
  // it: otherwise the backlog would stay ready and the loop spin.
  void DropOne(int listener_fd);

  const std::shared_ptr<ServerCore> core_;
  std::vector<Listener> listeners_;
  std::vector<std::unique_ptr<IoThread>> threads_;
  // After the threads: they are destroyed first, while their event loop still lives.
  std::vector<std::unique_ptr<asio::posix::stream_descriptor>> acceptors_;
  std::deque<Refused> refused_;  // of the first thread; the oldest first
  std::chrono::milliseconds tick_{250};
  size_t next_thread_ = 0;
  int reserved_fd_ = -1;
  int port_ = 0, admin_port_ = 0;
  bool started_ = false, accepting_ = false, stopped_ = false;
};

// An exception that reaches the loop (out of memory) costs the connection it came from, which the
// deadlines then close, and not the server.
void RunLoop(const ServerCore& core, IoThread* thread) {
  while (true) {
    try {
      thread->context.run();
      return;
    } catch (const std::exception& error) {
      core.Warn(std::string("I/O thread: ") + error.what());
    }
  }
}

// Fine enough for the shortest limit, and never a load: 4 times a second by default.
std::chrono::milliseconds HttpServerImpl::TickInterval(const HttpLimits& limits) {
  std::chrono::milliseconds shortest{2000};
  for (auto limit :
       {limits.tls_handshake_timeout, limits.head_timeout, limits.body_window,
        limits.keep_alive_timeout, limits.write_stall, limits.ping_interval, limits.linger}) {
    shortest = std::min(shortest, limit);
  }
  return std::max(std::chrono::milliseconds(5), shortest / 8);
}

void HttpServerImpl::Start() {
  CHECK(!started_) << "HttpServer::Start() twice";
  started_ = accepting_ = true;
  for (Listener& listener : listeners_) {
    acceptors_.push_back(
        std::make_unique<asio::posix::stream_descriptor>(threads_[0]->context, listener.fd));
    listener.fd = -1;  // the descriptor owns it now
    const size_t index = acceptors_.size() - 1;
    asio::co_spawn(
        threads_[0]->context, [this, index] { return Accept(&listeners_[index]); }, asio::detached);
  }
  for (auto& thread : threads_) {
    asio::co_spawn(
        thread->context, [this, raw = thread.get()] { return Ticker(raw); }, asio::detached);
    thread->thread = std::thread([core = core_, raw = thread.get()] { RunLoop(*core, raw); });
  }
}

asio::awaitable<void> HttpServerImpl::Ticker(IoThread* thread) {
  while (!thread->stopping) {
    thread->ticker.expires_after(tick_);
    co_await thread->ticker.async_wait(kUse);
    const auto now = Connection::Clock::now();
    for (auto it = thread->connections.begin(); it != thread->connections.end();) {
      try {
        (*it)->Tick(now);
      } catch (const std::bad_alloc&) {
        (*it)->Close();  // without the words; the ticker goes on
      }
      it = (*it)->closed() ? thread->connections.erase(it) : std::next(it);
    }
    if (thread == threads_[0].get()) CloseRefused(now);
  }
}

asio::awaitable<void> HttpServerImpl::Accept(Listener* listener) {
  asio::posix::stream_descriptor& acceptor =
      *acceptors_[static_cast<size_t>(listener - listeners_.data())];
  asio::steady_timer pause(threads_[0]->context);
  while (accepting_) {
    auto [wait_error] =
        co_await acceptor.async_wait(asio::posix::stream_descriptor::wait_read, kUse);
    if (wait_error || !accepting_) break;
    // A batch at most, so that the connections of this thread get their turn.
    for (int i = 0; i < 64 && accepting_; ++i) {
      if (TakeOne(acceptor.native_handle(), *listener)) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) break;
      if (errno == EINTR || errno == ECONNABORTED || errno == EPROTO) continue;
      const int error = errno;
      if (core_->counters().accept_errors.fetch_add(1) % 1000 == 0) {
        core_->Warn("accept on " + listener->name + ": " + std::strerror(error));
      }
      // Out of descriptors or memory. Room is made by the longest idle connection; without one
      // the client is dropped, and the loop pauses.
      if (!core_->EvictOldestIdle(false)) DropOne(acceptor.native_handle());
      pause.expires_after(std::chrono::milliseconds(20));
      co_await pause.async_wait(kUse);
      break;
    }
  }
}

bool HttpServerImpl::TakeOne(int listener_fd, const Listener& listener) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  const int fd = ::accept4(listener_fd, reinterpret_cast<sockaddr*>(&address), &size,
                           SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return false;
  AcceptOne(fd, listener, &address, size);
  return true;
}

void HttpServerImpl::DropOne(int listener_fd) {
  if (reserved_fd_ >= 0) ::close(reserved_fd_);
  const int fd = ::accept4(listener_fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd >= 0) Refuse(fd, "server_overloaded", /*keep=*/false);
  reserved_fd_ = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
}

// Its request is read away, for as long as a refused one of Connection lingers: to close over it
// would reset the connection, and the reset may overtake the answer.
void HttpServerImpl::Refuse(int fd, const char* code, bool keep) {
  core_->counters().connections_refused.fetch_add(1);
  const HttpFault fault{503, code, "too many connections"};
  const std::string body = core_->ErrorBody(fault);
  const std::string answer =
      "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: " +
      std::to_string(body.size()) + "\r\nretry-after: 5\r\nconnection: close\r\n\r\n" + body;
  (void)!::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  ::shutdown(fd, SHUT_WR);
  ReadAway(fd);
  if (!keep) {
    ::close(fd);
    return;
  }
  if (refused_.size() >= kMaxRefused) {
    ::close(refused_.front().fd);
    refused_.pop_front();
  }
  refused_.push_back({fd, Connection::Clock::now() + core_->limits().linger});
}

void HttpServerImpl::CloseRefused(Connection::Clock::time_point now) {
  std::erase_if(refused_, [now](const Refused& refused) {
    if (!ReadAway(refused.fd) && now < refused.until) return false;
    ::close(refused.fd);
    return true;
  });
}

void HttpServerImpl::AcceptOne(int fd, const Listener& listener, const void* address, size_t size) {
  const HttpLimits& limits = core_->limits();
  CoreCounters& counters = core_->counters();
  counters.connections_accepted.fetch_add(1);
  const PeerAddress peer =
      listener.traits.is_unix ? PeerAddress{"unix", "unix", true} : DescribePeer(address, size);
  const bool counted =
      !listener.traits.is_unix && (!peer.is_loopback || limits.loopback_has_ip_limit);
  if (counted && !core_->gate().peers().Admit(peer.key, limits.max_connections_per_ip)) {
    Refuse(fd, "too_many_connections");
    return;
  }
  // A stranger takes a stranger's place; anybody that of the longest idle.
  const bool full = counters.connections_now >= static_cast<uint64_t>(limits.max_connections);
  const bool strangers_full = core_->gate().has_keys() &&
                              core_->unauthenticated_now >= limits.max_unauthenticated_connections;
  if ((full || strangers_full) && !core_->EvictOldestIdle(strangers_full)) {
    if (counted) core_->gate().peers().Release(peer.key);
    Refuse(fd, "server_overloaded");
    return;
  }
  auto slot = std::make_unique<ConnectionSlot>(core_, counted ? peer.key : "");
  const int on = 1, send_buffer = 64 << 10;
  const int idle_s = std::max(1, static_cast<int>(limits.half_open.count() / 1000));
  const int interval_s = std::max(1, idle_s / 6), probes = 3;
  const int user_timeout_ms = 1000 * idle_s;
  ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof(send_buffer));
  if (!listener.traits.is_unix) {
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    // A client that vanished without a word: its probes go unanswered and the kernel resets.
    ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof(user_timeout_ms));
  }
  IoThread* thread = threads_[next_thread_++ % threads_.size()].get();
  int family = AF_UNIX;
  if (!listener.traits.is_unix) {
    family = static_cast<const sockaddr*>(address)->sa_family;
  }
  // At once when it is this thread: a burst of clients is then seen by the limits one by one.
  asio::dispatch(thread->context, [this, thread, fd, family, traits = listener.traits, peer,
                                   slot = std::move(slot)]() mutable {
    Connection::Socket socket(thread->context);
    error_code error;
    if (!thread->stopping) socket.assign(asio::generic::stream_protocol(family, 0), fd, error);
    if (thread->stopping || error) {
      ::close(fd);
      return;
    }
    auto connection = std::make_shared<Connection>(
        core_, std::move(socket), traits, Connection::Peer{peer.text, peer.key, peer.is_loopback},
        std::move(slot), &thread->scratch);
    thread->connections.insert(connection);
    connection->Start();
  });
}

Status HttpServerImpl::Reload(std::vector<ApiKey> keys) {
  RILL_ASSIGN_OR_RETURN(auto list, core_->gate().PrepareKeys(std::move(keys)));
  std::shared_ptr<asio::ssl::context> tls;
  if (!core_->options().tls_certificate.empty()) {
    RILL_ASSIGN_OR_RETURN(tls, core_->ReadTls());
  }
  core_->gate().UseKeys(std::move(list));
  if (tls) core_->UseTls(std::move(tls));
  return OkStatus();
}

void HttpServerImpl::StopAccepting() {
  core_->closing_idle = true;
  CloseListeners();
}

void HttpServerImpl::CloseListeners() {
  if (!started_ || stopped_) {
    listeners_.clear();
    return;
  }
  asio::post(threads_[0]->context, [this] {
    accepting_ = false;
    // Clients that wait in the backlog have done nothing wrong: they are answered, not reset. Those
    // in a service manager's socket wait there for the next process.
    for (size_t i = 0; i < acceptors_.size() && core_->options().inherited_fds.empty(); ++i) {
      while (acceptors_[i]->is_open() && TakeOne(acceptors_[i]->native_handle(), listeners_[i])) {
      }
    }
    for (auto& acceptor : acceptors_) {
      error_code ignored;
      acceptor->close(ignored);
    }
    for (Listener& listener : listeners_) listener.Close();
  });
}

void HttpServerImpl::Stop() {
  if (stopped_) return;
  StopAccepting();
  stopped_ = true;
  if (!started_) return;
  for (auto& thread : threads_) {
    asio::post(thread->context, [raw = thread.get()] {
      raw->stopping = true;
      raw->ticker.cancel();
      for (const auto& connection : raw->connections) connection->Close();
      raw->connections.clear();
      raw->work.reset();
    });
  }
  for (auto& thread : threads_) thread->thread.join();
}

HttpCounters HttpServerImpl::counters() const {
  const CoreCounters& from = core_->counters();
  HttpCounters out;
  out.connections_accepted = from.connections_accepted;
  out.connections_now = from.connections_now;
  out.connections_refused = from.connections_refused;
  out.connections_evicted = from.connections_evicted;
  out.accept_errors = from.accept_errors;
  out.tls_failures = from.tls_failures;
  out.requests = from.requests;
  out.requests_now = from.requests_now;
  for (int i = 0; i < 6; ++i) out.responses_by_class[i] = from.responses_by_class[i];
  out.malformed = from.malformed;
  out.auth_failures = from.auth_failures;
  out.auth_throttled = from.auth_throttled;
  out.refused_draining = from.refused_draining;
  out.head_timeouts = from.head_timeouts;
  out.body_timeouts = from.body_timeouts;
  out.slow_readers_cut = from.slow_readers_cut;
  out.clients_gone = from.clients_gone;
  out.bytes_in = from.bytes_in;
  out.bytes_out = from.bytes_out;
  return out;
}

Status CheckOptions(const HttpServerOptions& options) {
  if (options.port < 0 || options.port > 65535 || options.admin_port < -1 ||
      options.admin_port > 65535) {
    return InvalidArgument("port: expected 0 to 65535");
  }
  if (options.io_threads < 1 || options.io_threads > 256) {
    return InvalidArgument("io_threads: expected 1 to 256, got " +
                           std::to_string(options.io_threads));
  }
  if (options.tls_certificate.empty() != options.tls_private_key.empty()) {
    return InvalidArgument("TLS needs both a certificate and its private key");
  }
  return OkStatus();
}

// Raises the soft limit of descriptors as far as allowed and lowers max_connections to fit.
void FitDescriptors(HttpServerOptions* options) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t wanted = static_cast<rlim_t>(options->limits.max_connections) + kOtherDescriptors;
  if (limit.rlim_cur < wanted) {
    rlimit raised = limit;
    raised.rlim_cur = std::min(limit.rlim_max, wanted);
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  if (limit.rlim_cur >= wanted) return;
  const int fits =
      std::max(16, static_cast<int>(limit.rlim_cur) - static_cast<int>(kOtherDescriptors));
  if (options->on_warning) {
    options->on_warning("open files are limited to " + std::to_string(limit.rlim_cur) +
                        ": at most " + std::to_string(fits) + " connections instead of " +
                        std::to_string(options->limits.max_connections));
  }
  options->limits.max_connections = fits;
}

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::Create(HttpServerOptions options,
                                                       std::vector<Route> routes) {
  RILL_RETURN_IF_ERROR(CheckOptions(options));
  FitDescriptors(&options);
  // The names under which this server itself is reached are allowed hosts of a loopback listener.
  std::vector<Listener> listeners;
  for (int fd : options.inherited_fds) {
    RILL_ASSIGN_OR_RETURN(Listener listener, AdoptListener(fd));
    listeners.push_back(std::move(listener));
  }
  if (options.inherited_fds.empty()) {
    for (const std::string& address : options.addresses) {
      RILL_ASSIGN_OR_RETURN(std::vector<Listener> more, ListenTcp(address, options.port));
      for (Listener& listener : more) listeners.push_back(std::move(listener));
    }
    if (!options.unix_path.empty()) {
      RILL_ASSIGN_OR_RETURN(Listener listener, ListenUnix(options.unix_path, options.unix_mode));
      listeners.push_back(std::move(listener));
    }
  }
  if (listeners.empty()) return InvalidArgument("no address and no Unix socket to listen on");
  if (options.admin_port >= 0) {
    RILL_ASSIGN_OR_RETURN(std::vector<Listener> more, ListenTcp("127.0.0.1", options.admin_port));
    for (Listener& listener : more) {
      listener.traits.is_admin = true;
      listeners.push_back(std::move(listener));
    }
  }
  if (!options.admin_unix_path.empty()) {
    RILL_ASSIGN_OR_RETURN(Listener listener, ListenUnix(options.admin_unix_path, 0600));
    listener.traits.is_admin = true;
    listeners.push_back(std::move(listener));
  }
  for (Listener& listener : listeners) {
    if (!listener.traits.is_unix && !listener.traits.is_loopback && options.api_keys.empty() &&
        !options.allow_unauthenticated) {
      return FailedPrecondition("listen on '" + listener.name +
                                "': reachable from other machines, and no API key is asked for; "
                                "give one, or allow unauthenticated use explicitly");
    }
    listener.traits.tls = !options.tls_certificate.empty() && !listener.traits.is_unix;
  }
  auto core = std::make_shared<ServerCore>(options);
  RILL_ASSIGN_OR_RETURN(std::unique_ptr<Gate> gate, Gate::Create(options, std::move(routes)));
  core->set_gate(std::move(gate));
  if (!options.tls_certificate.empty()) {
    RILL_ASSIGN_OR_RETURN(auto tls, core->ReadTls());
    core->UseTls(std::move(tls));
  }
  return std::unique_ptr<HttpServer>(
      std::make_unique<HttpServerImpl>(std::move(core), std::move(listeners)));
}

}  // namespace rill::server
