// What one HTTP exchange is made of: plain data, no sockets.
//
// A request reaches a handler only after the transport has read it whole, found it well-formed
// (http/head_parser.h), found its route and let its key pass. Header names are lower case; values
// have no control characters but tab.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rill::server {

enum class Method : uint8_t { kGet, kHead, kPost, kPut, kPatch, kDelete, kOptions };

// "GET", …
std::string_view MethodName(Method method);

struct Header {
  std::string name;
  std::string value;
};

using NameValues = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  static constexpr size_t kMaxObjectiveBytes = 253;  // a name of Kubernetes
  Method method = Method::kGet;
  std::string method_text;
  std::string path;   // percent-decoded and normalised: no query, no "//", no dot segments
  NameValues params;  // path parameters of the route: {"id", "smollm2"}
  NameValues query;   // percent-decoded, in the order given
  std::vector<Header> headers;
  std::string body;
  std::string peer;        // "192.0.2.7:41234", "[2001:db8::1]:80" or "unix"
  std::string request_id;  // the client's x-request-id when sane, else one of our own
  std::string tenant;      // name of the API key; "" where no key was needed
  double weight = 1;       // the tenant's share against others
  std::string trace_id;    // of a valid traceparent (http/trace_context.h), else ""
  std::string objective;   // x-llm-d-inference-objective, at most kMaxObjectiveBytes, else ""
  bool is_admin = false;   // came with an admin's rights
  std::chrono::steady_clock::time_point received;  // head complete

  // First header of that name (lower case), or nullptr.
  const std::string* FindHeader(std::string_view name) const;
  // Path parameter / first query parameter of that name, or nullptr.
  const std::string* FindParam(std::string_view name) const;
  const std::string* FindQuery(std::string_view name) const;
};

}  // namespace rill::server
