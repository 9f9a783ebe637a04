// The address of a server with OpenAI's API.
#pragma once

#include <string>

#include "rill/status.h"

namespace rill::server {

struct Url {
  bool tls = false;
  std::string host, port, prefix;  // port: 1 to 65535; prefix: "" or "/path", without /v1
  std::string authority;           // for Host
};

// http://host[:port][/path] or https://…; IPv6 addresses stand in [].
Result<Url> ParseUrl(const std::string& text);

}  // namespace rill::server
