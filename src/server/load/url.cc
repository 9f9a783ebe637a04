#include "server/load/url.h"

#include <algorithm>
#include <charconv>
#include <cstdint>

namespace rill::server {

Result<Url> ParseUrl(const std::string& text) {
  Url url;
  const std::string expected = "': expected http://host[:port][/path] or https://…";
  std::string rest;
  if (text.rfind("http://", 0) == 0) {
    rest = text.substr(7);
    url.port = "80";
  } else if (text.rfind("https://", 0) == 0) {
    rest = text.substr(8);
    url.port = "443";
    url.tls = true;
  } else {
    return InvalidArgument("url '" + text + expected);
  }
  for (char c : rest) {
    if (c <= ' ' || c == '@' || c == '?' || c == '#') {
      return InvalidArgument("url '" + text + expected);
    }
  }
  const size_t slash = std::min(rest.find('/'), rest.size());
  url.authority = rest.substr(0, slash);
  url.prefix = rest.substr(slash);
  while (!url.prefix.empty() && url.prefix.back() == '/') url.prefix.pop_back();
  if (url.prefix.size() >= 3 && url.prefix.substr(url.prefix.size() - 3) == "/v1") {
    url.prefix.resize(url.prefix.size() - 3);
  }
  std::string host = url.authority;
  const size_t colon = host.rfind(':');
  if (colon != std::string::npos && host.find(']', colon) == std::string::npos) {
    url.port = host.substr(colon + 1);
    host.resize(colon);
  }
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  if (host.empty() || url.port.empty()) return InvalidArgument("url '" + text + expected);
  uint32_t port = 0;
  const char* end = url.port.data() + url.port.size();
  const auto [stop, error] = std::from_chars(url.port.data(), end, port);
  if (error != std::errc() || stop != end || port < 1 || port > 65535) {
    return InvalidArgument("url '" + text + "': expected a port from 1 to 65535, got '" + url.port +
                           "'");
  }
  url.host = host;
  return url;
}

}  // namespace rill::server
