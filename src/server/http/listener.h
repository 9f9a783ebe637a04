// Listening sockets: made here, or inherited from a service manager. Each closes with its object.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "rill/status.h"
#include "server/http/gate.h"

namespace rill::server {

// Connections that may wait to be accepted; the kernel caps it at somaxconn.
inline constexpr int kBacklog = 4096;

struct Listener {
  int fd = -1;
  ListenerTraits traits;
  int port = 0;
  std::string unix_path;  // removed at the end, when it is still ours
  std::string name;       // "127.0.0.1:8080", for messages

  Listener() = default;
  Listener(Listener&& other) noexcept;
  Listener& operator=(Listener&& other) noexcept;
  ~Listener();
  void Close();
};

// Every address that `address` (a literal or a name) stands for.
Result<std::vector<Listener>> ListenTcp(const std::string& address, int port);
// Replaces a socket that nobody listens on; a live one, or another kind of file, is an error.
Result<Listener> ListenUnix(const std::string& path, int mode);
// A listening socket that was passed in.
Result<Listener> AdoptListener(int fd);

// The address of a connected socket: text for logs, and the key that limits go by.
struct PeerAddress {
  std::string text;
  std::string key;  // IPv4 address, IPv6 /64 or "unix"
  bool is_loopback = false;
};
PeerAddress DescribePeer(const void* sockaddr, size_t size);
// The same of an IPv4 or IPv6 literal without port; `key` is empty when it is none.
PeerAddress PeerOfLiteral(std::string_view literal);

}  // namespace rill::server
