#include "server/http/origin_policy.h"

#include <algorithm>

#include "server/http/head_parser.h"

namespace rill::server {

namespace {

std::string_view WithoutPort(std::string_view host) {
  const size_t colon = host.rfind(':');
  if (colon == std::string_view::npos || host.find(']', colon) != std::string_view::npos) {
    return host;
  }
  return host.substr(0, colon);
}

bool IsLoopbackName(std::string_view name) {
  if (name == "localhost" || name == "[::1]") return true;
  // 127.0.0.0/8, in the one way browsers write it. A name such as 127.evil.example is not one.
  if (name.substr(0, 4) != "127.") return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return c == '.' || (c >= '0' && c <= '9'); }) &&
         std::count(name.begin(), name.end(), '.') == 3;
}

}  // namespace

Result<OriginPolicy> OriginPolicy::Create(std::vector<std::string> allowed_hosts,
                                          std::vector<std::string> allowed_origins) {
  OriginPolicy policy;
  for (const std::string& host : allowed_hosts) {
    if (host == "*") {
      policy.any_host_ = true;
    } else if (host.empty() || host.find_first_of("/ ,") != std::string::npos) {
      return InvalidArgument("allowed host '" + host + "': expected a name, such as example.com");
    } else {
      policy.hosts_.push_back(LowerAscii(WithoutPort(host)));
    }
  }
  for (const std::string& origin : allowed_origins) {
    const size_t scheme = origin.find("://");
    if (origin == "*") {
      policy.any_origin_ = true;
    } else if (scheme == std::string::npos || scheme == 0 ||
               origin.find_first_of("/ ,", scheme + 3) != std::string::npos ||
               scheme + 3 == origin.size()) {
      return InvalidArgument("allowed origin '" + origin +
                             "': expected scheme://host[:port], such as https://example.com");
    } else {
      policy.origins_.push_back(LowerAscii(origin));
    }
  }
  return policy;
}

bool OriginPolicy::HostAllowed(std::string_view host, bool listener_is_loopback) const {
  if (any_host_ || (!listener_is_loopback && hosts_.empty())) return true;
  if (host.empty()) return true;  // HTTP/1.0: no browser does that
  const std::string_view name = WithoutPort(host);
  if (IsLoopbackName(name)) return true;
  return std::find(hosts_.begin(), hosts_.end(), name) != hosts_.end();
}

OriginPolicy::Origin OriginPolicy::Judge(std::string_view origin, std::string_view host) const {
  Origin out;
  if (origin.empty()) return out;
  const std::string lower = LowerAscii(origin);
  if (any_origin_) {
    out.allow_origin = "*";
    return out;
  }
  if (std::find(origins_.begin(), origins_.end(), lower) != origins_.end()) {
    out.allow_origin = origin;
    return out;
  }
  // Our own page: its origin is the host it was loaded from.
  if (!host.empty() &&
      (lower == "http://" + std::string(host) || lower == "https://" + std::string(host))) {
    return out;
  }
  out.allowed = false;
  return out;
}

}  // namespace rill::server
