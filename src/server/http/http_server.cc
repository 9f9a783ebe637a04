#include "server/http/http_server.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
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
#include "server/http/task.h"
#include "server/http/unique_fd.h"

namespace rill::server {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

constexpr size_t kScratchBytes = 64 << 10;
// Descriptors that are not client connections, or do not count as those any more: model files,
// logs, listeners, epoll; refused and condemned ones.
constexpr rlim_t kOtherDescriptors = 160;
constexpr rlim_t kDescriptorsPerThread = 4;  // epoll, its wake-up and its timers

// One event loop and its connections.
struct IoThread {
  explicit IoThread(size_t its_index) : index(its_index) {}

  const size_t index;
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
  std::unordered_set<std::shared_ptr<Connection>> connections;
  std::string scratch = std::string(kScratchBytes, '\0');
  // Of the kernel, since one of asio's takes memory for each wait.
  asio::posix::stream_descriptor ticker{context};
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

// An error of accept() that is about one client, and not about those behind it: accept(2) passes on
// what the network has said of it.
bool IsOfOneClient(int error) {
  switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH: return true;
    default: return false;
  }
}

bool LacksRoom(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

class HttpServerImpl final : public HttpServer {
 public:
  HttpServerImpl(std::shared_ptr<ServerCore> core, std::vector<Listener> listeners)
      : core_(std::move(core)), listeners_(std::move(listeners)) {
    for (int i = 0; i < std::max(1, core_->options().io_threads); ++i) {
      threads_.push_back(std::make_unique<IoThread>(static_cast<size_t>(i)));
    }
    for (const Listener& listener : listeners_) {
      if (listener.traits.is_unix) continue;
      int& port = listener.traits.is_admin ? admin_port_ : port_;
      if (port == 0) port = listener.port;
    }
    reserved_fd_ = UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    tick_ = TickInterval(core_->limits());
  }
  ~HttpServerImpl() override { Stop(); }

  Status MakeTickers();
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
    UniqueFd fd;
    Connection::Clock::time_point until;
  };
  static constexpr size_t kMaxRefused = 64;  // of kOtherDescriptors

  static std::chrono::milliseconds TickInterval(const HttpLimits& limits);
  Task Accept(size_t index);
  Task Ticker(IoThread* thread);
  void Tick(IoThread& thread) noexcept;
  // Accepts a batch of the backlog; true when there is more that cannot be had now.
  bool AcceptBatch(int listener_fd, const Listener& listener) noexcept;
  // Accepts one connection of the backlog; one that there is no memory for is closed. False with
  // errno when there is none to be had.
  bool TakeOne(int listener_fd, const Listener& listener) noexcept;
  void AcceptOne(UniqueFd fd, const Listener& listener, const void* address, size_t size);
  void Refuse(UniqueFd fd, const Listener& listener, const char* code, bool keep = true);
  void CloseRefused(Connection::Clock::time_point now);
  // For a client that there is no descriptor or memory for.
  void MakeRoom(int listener_fd, const Listener& listener);
  // Uses the reserved descriptor to take one connection that there is no descriptor for, and drops
  // it: otherwise the backlog would stay ready and the loop spin.
  void DropOne(int listener_fd, const Listener& listener);

  const std::shared_ptr<ServerCore> core_;
  std::vector<Listener> listeners_;
  std::vector<std::unique_ptr<IoThread>> threads_;
  // After the threads: they are destroyed first, while their event loop still lives.
  std::vector<std::unique_ptr<asio::posix::stream_descriptor>> acceptors_;
  std::deque<Refused> refused_;  // of the first thread; the oldest first
  std::chrono::milliseconds tick_{250};
  size_t next_thread_ = 0;
  UniqueFd reserved_fd_;
  int port_ = 0, admin_port_ = 0;
  bool started_ = false, accepting_ = false, stopped_ = false;
};

// What the connections' own guards do not catch costs its event, which the deadlines then make up
// for, and not the server.
void RunLoop(const ServerCore& core, IoThread* thread) {
  pthread_setname_np(pthread_self(), "rill-http");
  while (true) {
    try {
      thread->context.run();
      return;
    } catch (const std::exception& error) {
      try {
        core.Warn(std::string("I/O thread: ") + error.what());
      } catch (const std::bad_alloc&) {
        // Then without the words.
      }
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
    Accept(index);  // to its first wait; the loop's thread goes on with it
  }
  for (auto& thread : threads_) Ticker(thread.get());
  for (auto& thread : threads_) {
    thread->thread = std::thread([core = core_, raw = thread.get()] { RunLoop(*core, raw); });
  }
}

Status HttpServerImpl::MakeTickers() {
  const timespec pace = {.tv_sec = tick_.count() / 1000,
                         .tv_nsec = (tick_.count() % 1000) * 1'000'000};
  const itimerspec timer = {.it_interval = pace, .it_value = pace};
  for (auto& thread : threads_) {
    const int fd = ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fd < 0) return Unavailable(std::string("timerfd_create: ") + std::strerror(errno));
    thread->ticker.assign(fd);
    ::timerfd_settime(fd, 0, &timer, nullptr);
  }
  return OkStatus();
}

Task HttpServerImpl::Ticker(IoThread* thread) {
  OperationMemory memory;
  while (!thread->stopping) {
    const auto [error, ignored] = co_await Await(memory, [&](OperationHandler handler) {
      thread->ticker.async_wait(asio::posix::stream_descriptor::wait_read, std::move(handler));
    });
    if (error || thread->stopping) break;
    uint64_t times = 0;
    (void)!::read(thread->ticker.native_handle(), &times, sizeof(times));
    Tick(*thread);
  }
}

void HttpServerImpl::Tick(IoThread& thread) noexcept {
  const auto now = Connection::Clock::now();
  for (auto it = thread.connections.begin(); it != thread.connections.end();) {
    try {
      (*it)->Tick(now);
    } catch (const std::bad_alloc&) {
      (*it)->Close();  // without the words
    }
    it = (*it)->closed() ? thread.connections.erase(it) : std::next(it);
  }
  if (&thread == threads_[0].get()) CloseRefused(now);
}

Task HttpServerImpl::Accept(size_t index) {
  asio::posix::stream_descriptor& acceptor = *acceptors_[index];
  asio::steady_timer pause(threads_[0]->context);
  OperationMemory memory;
  while (accepting_) {
    const auto [error, ignored] = co_await Await(memory, [&](OperationHandler handler) {
      acceptor.async_wait(asio::posix::stream_descriptor::wait_read, std::move(handler));
    });
    if (error || !accepting_) break;
    if (!AcceptBatch(acceptor.native_handle(), listeners_[index])) continue;
    constexpr std::chrono::milliseconds kPause{20};
    try {
      pause.expires_after(kPause);
      co_await Await(memory,
                     [&](OperationHandler handler) { pause.async_wait(std::move(handler)); });
    } catch (const std::bad_alloc&) {
      std::this_thread::sleep_for(kPause);  // who is connected has nothing either
    }
  }
}

bool HttpServerImpl::AcceptBatch(int listener_fd, const Listener& listener) noexcept {
  core_->places().NewTurn();
  // A batch at most, so that the connections of this thread get their turn.
  for (int i = 0; i < 64 && accepting_; ++i) {
    if (TakeOne(listener_fd, listener)) continue;
    const int error = errno;
    if (error == EAGAIN || error == EWOULDBLOCK) break;
    if (IsOfOneClient(error)) continue;
    // Out of descriptors or memory, most likely. Room is made by the longest idle connection;
    // without one the client is dropped, and the loop pauses.
    try {
      if (core_->counters().accept_errors.fetch_add(1) % 1000 == 0) {
        core_->Warn("accept on " + listener.name + ": " + std::strerror(error));
      }
      if (LacksRoom(error)) MakeRoom(listener_fd, listener);
    } catch (const std::bad_alloc&) {
      // After the pause perhaps.
    }
    return true;
  }
  return false;
}

bool HttpServerImpl::TakeOne(int listener_fd, const Listener& listener) noexcept {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  const int fd = ::accept4(listener_fd, reinterpret_cast<sockaddr*>(&address), &size,
                           SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return false;
  try {
    AcceptOne(UniqueFd(fd), listener, &address, size);
  } catch (const std::bad_alloc&) {
    core_->counters().accept_errors.fetch_add(1);
  }
  return true;
}

void HttpServerImpl::MakeRoom(int listener_fd, const Listener& listener) {
  if (!core_->places().Evict(/*is_admin=*/false, /*strangers_only=*/false)) {
    DropOne(listener_fd, listener);
  }
}

void HttpServerImpl::DropOne(int listener_fd, const Listener& listener) {
  reserved_fd_ = UniqueFd();
  {
    UniqueFd fd(::accept4(listener_fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    try {
      if (fd.get() >= 0) Refuse(std::move(fd), listener, "server_overloaded", /*keep=*/false);
    } catch (const std::bad_alloc&) {
      // Closed without the words.
    }
  }
  reserved_fd_ = UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

// Its request is read away, for as long as a refused one of Connection lingers: to close over it
// would reset the connection, and the reset may overtake the answer. Over TLS an answer would take
// a handshake: there it is a fatal alert, internal_error (RFC 8446, 6.2), which clients name.
void HttpServerImpl::Refuse(UniqueFd fd, const Listener& listener, const char* code, bool keep) {
  core_->counters().connections_refused.fetch_add(1);
  std::string answer;
  if (listener.traits.tls) {
    answer.assign("\x15\x03\x03\x00\x02\x02\x50", 7);
  } else {
    const std::string body = core_->ErrorBody({503, code, "too many connections"});
    answer =
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: " +
        std::to_string(body.size()) + "\r\nretry-after: 5\r\nx-request-id: " + NewRequestId() +
        "\r\nopenai-processing-ms: 0\r\nconnection: close\r\n\r\n" + body;
  }
  (void)!::send(fd.get(), answer.data(), answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  ::shutdown(fd.get(), SHUT_WR);
  ReadAway(fd.get());
  if (!keep) return;
  if (refused_.size() >= kMaxRefused) refused_.pop_front();
  refused_.push_back({std::move(fd), Connection::Clock::now() + core_->limits().linger});
}

void HttpServerImpl::CloseRefused(Connection::Clock::time_point now) {
  std::erase_if(refused_, [now](const Refused& refused) {
    return ReadAway(refused.fd.get()) || now >= refused.until;
  });
}

void HttpServerImpl::AcceptOne(UniqueFd owned_fd, const Listener& listener, const void* address,
                               size_t size) {
  const HttpLimits& limits = core_->limits();
  CoreCounters& counters = core_->counters();
  counters.connections_accepted.fetch_add(1);
  const PeerAddress peer =
      listener.traits.is_unix ? PeerAddress{"unix", "unix", true} : DescribePeer(address, size);
  const bool is_admin = listener.traits.is_admin;
  const bool counted =
      !listener.traits.is_unix && !is_admin && (!peer.is_loopback || limits.loopback_has_ip_limit);
  if (counted && !core_->gate().peers().Admit(peer.key, limits.max_connections_per_ip)) {
    Refuse(std::move(owned_fd), listener, "too_many_connections");
    return;
  }
  // A stranger takes a stranger's place; others that of whoever may go first.
  ConnectionPlaces& places = core_->places();
  const bool strangers_full = !is_admin && core_->gate().has_keys() && places.StrangersFull();
  if ((strangers_full || places.IsFull(is_admin)) && !places.Evict(is_admin, strangers_full)) {
    if (counted) core_->gate().peers().Release(peer.key);
    Refuse(std::move(owned_fd), listener, "server_overloaded");
    return;
  }
  std::unique_ptr<ConnectionSlot> slot;
  try {
    slot = std::make_unique<ConnectionSlot>(core_, counted ? peer.key : "", is_admin);
  } catch (const std::bad_alloc&) {
    if (counted) core_->gate().peers().Release(peer.key);
    throw;
  }
  const int fd = owned_fd.get();
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
  asio::dispatch(thread->context, [this, thread, owned_fd = std::move(owned_fd), family,
                                   traits = listener.traits, peer,
                                   slot = std::move(slot)]() mutable {
    try {
      if (thread->stopping) return;
      Connection::Socket socket(thread->context);
      error_code error;
      socket.assign(asio::generic::stream_protocol(family, 0), owned_fd.get(), error);
      if (error) return;
      (void)owned_fd.Release();
      auto connection = std::make_shared<Connection>(
          core_, std::move(socket), traits, Connection::Peer{peer.text, peer.key, peer.is_loopback},
          std::move(slot), thread->index, &thread->scratch);
      thread->connections.insert(connection);
      try {
        connection->Start();
      } catch (const std::exception&) {  // of OpenSSL too, when it has no memory
        connection->Close();
      }
    } catch (const std::exception&) {
      core_->counters().accept_errors.fetch_add(1);
    }
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
      // No more than can have waited before: who comes now would be served without end.
      core_->places().NewTurn();
      for (int taken = 0; taken <= kBacklog && acceptors_[i]->is_open(); ++taken) {
        const int fd = acceptors_[i]->native_handle();
        if (TakeOne(fd, listeners_[i]) || IsOfOneClient(errno)) continue;
        break;
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
      error_code ignored;
      raw->ticker.close(ignored);
      for (const auto& connection : raw->connections) connection->Close();
      raw->connections.clear();
      raw->work.reset();
    });
  }
  for (auto& thread : threads_) {
    if (thread->thread.joinable()) thread->thread.join();  // else the system gave none
  }
}

HttpCounters HttpServerImpl::counters() const {
  const CoreCounters& from = core_->counters();
  HttpCounters out;
  out.connections_accepted = from.connections_accepted;
  out.admin_connections_now = core_->places().open(/*is_admin=*/true);
  out.connections_now = core_->places().open(/*is_admin=*/false) + out.admin_connections_now;
  out.connections_refused = from.connections_refused;
  out.connections_evicted = core_->places().evicted();
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
  const bool has_admin = options->admin_port >= 0 || !options->admin_unix_path.empty();
  const rlim_t others =
      kOtherDescriptors + kDescriptorsPerThread * static_cast<rlim_t>(options->io_threads) +
      (has_admin ? static_cast<rlim_t>(options->limits.max_admin_connections) : 0);
  const rlim_t wanted = static_cast<rlim_t>(options->limits.max_connections) + others;
  if (limit.rlim_cur < wanted) {
    rlimit raised = limit;
    raised.rlim_cur = std::min(limit.rlim_max, wanted);
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  if (limit.rlim_cur >= wanted) return;
  const int fits =
      std::min(options->limits.max_connections,
               std::max(16, static_cast<int>(limit.rlim_cur) - static_cast<int>(others)));
  if (options->on_warning) {
    std::string text = "open files are limited to " + std::to_string(limit.rlim_cur) + ": ";
    if (fits < options->limits.max_connections) {
      text += "at most " + std::to_string(fits) + " connections instead of " +
              std::to_string(options->limits.max_connections);
    } else {
      text += std::to_string(wanted) + " are wanted for " + std::to_string(fits) + " connections";
    }
    options->on_warning(text);
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
      // Without the port, which the system may have chosen.
      return InvalidArgument("listen on '" + listener.name.substr(0, listener.name.rfind(':')) +
                             "': reachable from other machines, and no API key is asked for: give "
                             "keys (--key-file FILE), or --allow-unauthenticated");
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
  auto server = std::make_unique<HttpServerImpl>(std::move(core), std::move(listeners));
  RILL_RETURN_IF_ERROR(server->MakeTickers());
  return std::unique_ptr<HttpServer>(std::move(server));
}

}  // namespace rill::server
