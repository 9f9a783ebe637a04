// Errors in OpenAI's form: {"error":{"message":…,"type":…,"param":…|null,"code":…|null}}.
#pragma once

#include <optional>
#include <string>

#include "rill/status.h"

namespace rill::server {

struct ApiError {
  int http_status = 500;
  std::string type = "server_error";  // invalid_request_error, rate_limit_error, …
  std::string message;
  std::optional<std::string> code;
  std::optional<std::string> param;

  // The JSON text above, in one line.
  std::string Body() const;
};

// What the status code says about the type: 4xx invalid_request_error, 429 rate_limit_error,
// 503 overloaded_error, other 5xx server_error.
ApiError MakeError(int http_status, std::string code, std::string message);

// invalid_argument 400 invalid_value | not_found 404 | unsupported 400 unsupported_parameter |
// failed_precondition 409 | resource_exhausted, unavailable 503 server_overloaded | others 500,
// whose message stays in the log: the client is told no internals.
ApiError ErrorFromStatus(const Status& status);

// "Bad Request", …: reason phrases of RFC 9110; "Unknown" for others.
std::string_view ReasonPhrase(int http_status);

}  // namespace rill::server
