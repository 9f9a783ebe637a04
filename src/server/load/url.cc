#include "server/load/url.h"

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "server/http/head_parser.h"

namespace rill::server {

Result<Url> ParseUrl(const std::string& text) {
  Url url;
  const std::string expected = "': expected http://host[:port][/path] or https://…";
  const auto wrong = [&] { return InvalidArgument("url '" + text + expected); };
  const size_t scheme = std::min(text.find("://"), text.size());
  if (EqualsNoCase(std::string_view(text).substr(0, scheme), "https")) {
    url.port = "443";
    url.tls = true;
  } else if (EqualsNoCase(std::string_view(text).substr(0, scheme), "http")) {
    url.port = "80";
  } else {
    return wrong();
  }
  if (scheme == text.size()) return wrong();
  const std::string rest = text.substr(scheme + 3);
  for (char c : rest) {
    if (c <= ' ' || c == 0x7f || c == '@' || c == '?' || c == '#') return wrong();
  }
  const size_t slash = std::min(rest.find('/'), rest.size());
  url.authority = rest.substr(0, slash);
  url.prefix = rest.substr(slash);
  while (!url.prefix.empty() && url.prefix.back() == '/') url.prefix.pop_back();
  if (url.prefix.size() >= 3 && url.prefix.substr(url.prefix.size() - 3) == "/v1") {
    url.prefix.resize(url.prefix.size() - 3);
  }
  // "[::1]:80", "host:80"
  const bool in_brackets = url.authority.starts_with('[');
  const size_t host_end = in_brackets ? url.authority.find(']')
                                      : std::min(url.authority.find(':'), url.authority.size());
  if (host_end == std::string::npos) return wrong();
  url.host = url.authority.substr(in_brackets, host_end - in_brackets);
  const std::string after = url.authority.substr(host_end + in_brackets);
  if (!after.empty()) url.port = after.substr(1);
  if (url.host.empty() || url.port.empty() || (!after.empty() && after[0] != ':') ||
      url.host.find_first_of("[]") != std::string::npos ||
      (!in_brackets && url.port.find(':') != std::string::npos)) {
    return wrong();
  }
  uint32_t port = 0;
  const char* end = url.port.data() + url.port.size();
  const auto [stop, error] = std::from_chars(url.port.data(), end, port);
  if (error != std::errc() || stop != end || port < 1 || port > 65535) {
    return InvalidArgument("url '" + text + "': expected a port from 1 to 65535, got '" + url.port +
                           "'");
  }
  return url;
}

}  // namespace rill::server
