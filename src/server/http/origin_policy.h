// Host and Origin: whose pages may talk to this server.
//
// A page of a foreign site can make the user's browser send requests to a server on loopback, and
// by rebinding its name to 127.0.0.1 even read the answers. Its Host then is the foreign name, its
// Origin the foreign site: both are compared with lists here. Immutable; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "rill/status.h"

namespace rill::server {

class OriginPolicy {
 public:
  OriginPolicy() = default;
  // Hosts: names or addresses without port. Origins: "scheme://host[:port]". "*": any.
  static Result<OriginPolicy> Create(std::vector<std::string> allowed_hosts,
                                     std::vector<std::string> allowed_origins);

  // `host`: value of Host in lower case, with its port; "" when absent (HTTP/1.0).
  bool HostAllowed(std::string_view host, bool listener_is_loopback) const;

  struct Origin {
    bool allowed = true;
    std::string allow_origin;  // Access-Control-Allow-Origin; "" = none (same origin)
  };
  // `origin`: value of Origin, or "" when absent.
  Origin Judge(std::string_view origin, std::string_view host) const;

 private:
  std::vector<std::string> hosts_, origins_;
  bool any_host_ = false, any_origin_ = false;
};

}  // namespace rill::server
