#include "server/errors.h"

#include "base/json.h"

namespace rill::server {

std::string ApiError::Body() const {
  std::string out = R"({"error":{"message":)";
  AppendJsonString(out, message);
  out += R"(,"type":)";
  AppendJsonString(out, type);
  out += R"(,"param":)";
  if (param) {
    AppendJsonString(out, *param);
  } else {
    out += "null";
  }
  out += R"(,"code":)";
  if (code) {
    AppendJsonString(out, *code);
  } else {
    out += "null";
  }
  out += "}}";
  return out;
}

ApiError MakeError(int http_status, std::string code, std::string message) {
  ApiError error;
  error.http_status = http_status;
  error.message = std::move(message);
  if (!code.empty()) error.code = std::move(code);
  if (http_status == 429) {
    error.type = "rate_limit_error";
  } else if (http_status == 503) {
    error.type = "overloaded_error";
  } else if (http_status >= 500 && http_status != 505) {  // a version is the client's choice
    error.type = "server_error";
  } else {
    error.type = "invalid_request_error";
  }
  return error;
}

ApiError ErrorFromStatus(const Status& status) {
  switch (status.code()) {
    case StatusCode::kInvalidArgument: return MakeError(400, "invalid_value", status.message());
    case StatusCode::kNotFound: return MakeError(404, "not_found", status.message());
    case StatusCode::kUnsupported: return MakeError(400, "unsupported_parameter", status.message());
    case StatusCode::kFailedPrecondition: return MakeError(409, "conflict", status.message());
    case StatusCode::kResourceExhausted:
    case StatusCode::kUnavailable: return MakeError(503, "server_overloaded", status.message());
    default: return MakeError(500, "internal_error", "the server failed; see its log");
  }
}

std::string_view ReasonPhrase(int http_status) {
  switch (http_status) {
    case 100: return "Continue";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 304: return "Not Modified";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "Unknown";
  }
}

}  // namespace rill::server
