#include "server/openai/api_error.h"

#include <fmt/format.h>

#include "base/utf8.h"

namespace rill::server::openai {

ApiError BadRequest(std::string code, std::string param, std::string message) {
  ApiError error = MakeError(400, std::move(code), std::move(message));
  if (!param.empty()) error.param = std::move(param);
  return error;
}

ApiError InvalidValue(std::string param, std::string message) {
  return BadRequest("invalid_value", std::move(param), std::move(message));
}

ApiError UnsupportedParameter(std::string param, std::string message) {
  return BadRequest("unsupported_parameter", std::move(param), std::move(message));
}

ApiError ModelNotFound(std::string_view model) {
  ApiError error = MakeError(
      404, "model_not_found",
      fmt::format("The model '{}' does not exist or is not loaded. GET /v1/models lists what this "
                  "server has.",
                  PrintableUtf8(model)));
  error.param = "model";
  return error;
}

ApiError RequestError(const Status& status, std::string_view request_id) {
  switch (status.code()) {
    case StatusCode::kInvalidArgument:
    case StatusCode::kFailedPrecondition: return BadRequest("invalid_value", "", status.message());
    case StatusCode::kUnsupported: return BadRequest("unsupported_parameter", "", status.message());
    case StatusCode::kResourceExhausted: {
      // Not 408: that is about how the request was sent, and clients try such a one again.
      if (status.message().ends_with("ms in all, the limit is over")) {
        return MakeError(504, "request_timeout", status.message());
      }
      const bool is_context = status.message().find("maximum context length") != std::string::npos;
      return BadRequest(is_context ? "context_length_exceeded" : "invalid_value", "",
                        status.message());
    }
    case StatusCode::kUnavailable: return MakeError(503, "server_overloaded", status.message());
    default: break;
  }
  return MakeError(500, "internal_error",
                   fmt::format("The server had an error while processing your request. Its log "
                               "names request {}.",
                               request_id));
}

}  // namespace rill::server::openai
