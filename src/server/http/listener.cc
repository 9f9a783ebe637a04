#include "server/http/listener.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace rill::server {

namespace {

std::string ErrnoText() {
  return std::strerror(errno);
}

bool IsLoopback(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    return (ntohl(v4.sin_addr.s_addr) >> 24) == 127;
  }
  if (address.ss_family == AF_INET6) {
    const in6_addr& v6 = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
    if (IN6_IS_ADDR_LOOPBACK(&v6)) return true;
    return IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127;
  }
  return false;
}

int PortOf(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  }
  if (address.ss_family == AF_INET6) {
    return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  }
  return 0;
}

// Fills traits, port and name from what the kernel says of the socket.
Status Describe(Listener* listener) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getsockname(listener->fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return InvalidArgument("not a socket (" + ErrnoText() + ")");
  }
  if (address.ss_family == AF_UNIX) {
    listener->traits.is_unix = true;
    listener->name = "unix:" + listener->unix_path;
    return OkStatus();
  }
  const PeerAddress described = DescribePeer(&address, size);
  listener->traits.is_loopback = IsLoopback(address);
  listener->port = PortOf(address);
  listener->name = described.text;
  return OkStatus();
}

}  // namespace

Listener::Listener(Listener&& other) noexcept {
  *this = std::move(other);
}

Listener& Listener::operator=(Listener&& other) noexcept {
  if (this == &other) return *this;
  Close();
  fd = std::exchange(other.fd, -1);
  traits = other.traits;
  port = other.port;
  unix_path = std::exchange(other.unix_path, "");
  name = other.name;
  return *this;
}

Listener::~Listener() {
  Close();
}

void Listener::Close() {
  if (fd >= 0) ::close(fd);
  fd = -1;
  if (!unix_path.empty()) ::unlink(unix_path.c_str());
  unix_path.clear();
}

Result<std::vector<Listener>> ListenTcp(const std::string& address, int port) {
  const std::string where = address + ":" + std::to_string(port);
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error =
          ::getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found)) {
    return InvalidArgument("listen on '" + where + "': " + ::gai_strerror(error));
  }
  std::vector<Listener> listeners;
  Status failure;
  for (const addrinfo* info = found; info; info = info->ai_next) {
    Listener listener;
    listener.fd = ::socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    if (listener.fd < 0) {
      failure = Unavailable("listen on '" + where + "': " + ErrnoText());
      continue;  // a machine without IPv6
    }
    ::setsockopt(listener.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (info->ai_family == AF_INET6) {
      ::setsockopt(listener.fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    }
    if (::bind(listener.fd, info->ai_addr, info->ai_addrlen) != 0 ||
        ::listen(listener.fd, kBacklog) != 0) {
      failure = Unavailable("listen on '" + where + "': " + ErrnoText());
      continue;
    }
    if (Status status = Describe(&listener); !status.ok()) {
      failure = status;
      continue;
    }
    // A name with several addresses and port 0: all get the first one's port.
    if (port == 0 && info->ai_next) {
      const int chosen = listener.port;
      for (const addrinfo* rest = info->ai_next; rest; rest = rest->ai_next) {
        if (rest->ai_family == AF_INET) {
          reinterpret_cast<sockaddr_in*>(rest->ai_addr)->sin_port =
              htons(static_cast<uint16_t>(chosen));
        } else if (rest->ai_family == AF_INET6) {
          reinterpret_cast<sockaddr_in6*>(rest->ai_addr)->sin6_port =
              htons(static_cast<uint16_t>(chosen));
        }
      }
    }
    listeners.push_back(std::move(listener));
  }
  ::freeaddrinfo(found);
  if (listeners.empty()) return failure;
  return listeners;
}

Result<Listener> ListenUnix(const std::string& path, int mode) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return InvalidArgument("Unix socket '" + path + "': expected a path of at most " +
                           std::to_string(sizeof(address.sun_path) - 1) + " bytes");
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  struct stat info;
  if (::lstat(path.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode)) return InvalidArgument(path + ": exists and is not a socket");
    // Left behind by a killed server, or in use? Only the latter takes a connection.
    const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const bool alive = probe >= 0 && (::connect(probe, reinterpret_cast<sockaddr*>(&address),
                                                sizeof(address)) == 0 ||
                                      errno == EAGAIN);
    if (probe >= 0) ::close(probe);
    if (alive) return Unavailable(path + ": another server listens there");
    ::unlink(path.c_str());
  }
  Listener listener;
  listener.fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  // Made without any permission: none may connect before chmod has set the right ones.
  const mode_t old = ::umask(0777);
  const bool bound = listener.fd >= 0 && ::bind(listener.fd, reinterpret_cast<sockaddr*>(&address),
                                                sizeof(address)) == 0;
  const int bind_error = errno;
  ::umask(old);
  if (!bound) return Unavailable(path + ": " + std::strerror(bind_error));
  listener.unix_path = path;
  if (::chmod(path.c_str(), static_cast<mode_t>(mode)) != 0 ||
      ::listen(listener.fd, kBacklog) != 0) {
    return Unavailable(path + ": " + ErrnoText());
  }
  RILL_RETURN_IF_ERROR(Describe(&listener));
  return listener;
}

Result<Listener> AdoptListener(int fd) {
  const std::string where = "inherited socket " + std::to_string(fd);
  int accepting = 0;
  socklen_t size = sizeof(accepting);
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepting, &size) != 0 || !accepting) {
    return InvalidArgument(where + ": not a listening socket");
  }
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  Listener listener;
  listener.fd = fd;
  if (Status status = Describe(&listener); !status.ok()) return status.WithPrefix(where);
  return listener;
}

PeerAddress DescribePeer(const void* sockaddr_bytes, size_t size) {
  PeerAddress out{"unix", "unix", true};
  sockaddr_storage address{};
  std::memcpy(&address, sockaddr_bytes, std::min(size, sizeof(address)));
  char text[INET6_ADDRSTRLEN] = "?";
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text));
    out.key = text;
    out.text = std::string(text) + ":" + std::to_string(ntohs(v4.sin_port));
  } else if (address.ss_family == AF_INET6) {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(address);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text));
    out.text = "[" + std::string(text) + "]:" + std::to_string(ntohs(v6.sin6_port));
    if (!IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
      std::memset(v6.sin6_addr.s6_addr + 8, 0, 8);  // one customer has a /64
      ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text));
    }
    out.key = text;
  } else {
    return out;
  }
  sockaddr_storage original{};
  std::memcpy(&original, sockaddr_bytes, std::min(size, sizeof(original)));
  out.is_loopback = IsLoopback(original);
  return out;
}

PeerAddress PeerOfLiteral(std::string_view literal) {
  const std::string text(literal.substr(0, INET6_ADDRSTRLEN));
  sockaddr_in v4{};
  if (::inet_pton(AF_INET, text.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    return DescribePeer(&v4, sizeof(v4));
  }
  sockaddr_in6 v6{};
  if (::inet_pton(AF_INET6, text.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    return DescribePeer(&v6, sizeof(v6));
  }
  return {};
}

}  // namespace rill::server
