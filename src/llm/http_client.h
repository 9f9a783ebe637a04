// HttpGet: one GET over https (plain http to this machine only), with redirects followed by hand
// so that a token never reaches another origin. Blocking; any thread; no shared state.
//
// Uses libcurl; proxies come from the usual variables, and certificate authorities from
// SSL_CERT_FILE or CURL_CA_BUNDLE when set.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "rill/status.h"

namespace rill::llm {

struct HttpTimeouts {
  int connect_s = 30;
  int stall_s = 30;  // no byte for so long ends the transfer
};

struct HttpRequest {
  std::string url;
  std::string bearer_token;  // sent to the origin (scheme, host, port) of `url` alone
  uint64_t range_begin = 0;  // > 0: "Range: bytes=<begin>-"
  std::string if_range;      // ETag that makes the range conditional; empty: unconditional
  HttpTimeouts timeouts;
};

struct HttpResponse {
  int status = 0;
  std::string url;                             // after redirects
  std::map<std::string, std::string> headers;  // names in lower case; of the last response
  std::string first_etag;                      // X-Linked-ETag of any response on the way
  std::string error_body;                      // up to 4 KiB of a body that is not 2xx

  // Empty when absent.
  std::string_view Header(const std::string& lower_case_name) const;
};

struct HttpCallbacks {
  // Before the first byte of a 2xx body. An error ends the transfer with it.
  std::function<Status(const HttpResponse&)> on_headers;
  // Each piece of a 2xx body.
  std::function<Status(std::string_view bytes)> on_bytes;
  // Called several times a second, also while nothing arrives. True ends it with kCancelled.
  std::function<bool()> is_cancelled;
};

// Any complete HTTP answer is a value, whatever its status. Errors: kUnavailable (resolve, connect,
// TLS, cut off, stalled: worth another try), kInvalidArgument (not a URL, or plain http to another
// machine, also by redirect), kFailedPrecondition (certificate refused, more than 10 redirects),
// kCancelled, and what the callbacks returned.
Result<HttpResponse> HttpGet(const HttpRequest& request, const HttpCallbacks& callbacks);

// The whole 2xx body in memory, at most max_bytes (kResourceExhausted above).
struct HttpText {
  HttpResponse response;
  std::string body;
};
Result<HttpText> HttpGetText(const HttpRequest& request, size_t max_bytes,
                             const std::function<bool()>& is_cancelled);

// kInvalidArgument unless `url` is https, or http to localhost, 127.0.0.0/8 or ::1.
Status CheckUrlIsSafe(const std::string& url);

// The path component's last segment, percent-decoded: "…/a%20b.gguf?x" -> "a b.gguf".
Result<std::string> UrlFileName(const std::string& url);

// Every byte but [A-Za-z0-9._~-] and '/' as %XX.
std::string PercentEncodePath(std::string_view path);

}  // namespace rill::llm
