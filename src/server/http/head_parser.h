// HTTP/1.1 request heads: which bytes are one, and which are refused (RFC 9110, 9112).
//
// Stricter than the RFC lets a server be, because every leniency is a chance for a proxy in front
// to see another message than we do (request smuggling):
//   - lines end with CR LF; a bare CR or LF, NUL and other controls are refused anywhere
//   - one space between method, target and version; HTTP/1.0 or HTTP/1.1 only
//   - field names are tokens directly before ':'; no line folding
//   - body length: nothing, one Content-Length of digits, or Transfer-Encoding: chunked alone;
//     both, two of either, a list, another coding, or any coding with HTTP/1.0 are refused
//   - one Host (HTTP/1.1 must have it), and no second Authorization, Content-Type, Expect, …
//   - no Upgrade: HTTP/2 without TLS is not spoken here
// Bytes are looked at once, however they arrive. A parser belongs to one connection; no threads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/http/message.h"

namespace rill::server {

struct HeadLimits {
  size_t max_request_line_bytes = 8 << 10;
  size_t max_header_fields = 100;
  size_t max_head_bytes = 32 << 10;
};

// A refusal: the answer's status, a code of OpenAI's form and a sentence. 0: none.
struct HttpFault {
  int status = 0;
  std::string code;
  std::string message;
  explicit operator bool() const { return status != 0; }
};

struct RequestHead {
  std::string method_text;
  Method method = Method::kGet;
  std::string target;     // origin form: "/path?query", or "*" of OPTIONS
  int minor_version = 1;  // HTTP/1.<minor>
  std::vector<Header> fields;
  std::string host;  // of Host, or of an absolute target; lower case, with port; "" if absent
  uint64_t content_length = 0;
  bool has_content_length = false;
  bool chunked = false;
  bool keep_alive = true;
  bool expect_continue = false;
};

class HeadScanner {
 public:
  explicit HeadScanner(const HeadLimits& limits) : limits_(limits) {}

  enum class State : uint8_t { kNeedMore, kComplete, kBad };

  // `buffer` holds everything of this head that has arrived; it only grows between calls.
  // kComplete: head_bytes() of it are the head, the rest is body. kBad: fault() says why.
  State Scan(std::string_view buffer);

  size_t head_bytes() const { return position_; }
  const HttpFault& fault() const { return fault_; }
  void Reset();

 private:
  State Bad(int status, std::string_view code, std::string message);

  HeadLimits limits_;
  size_t position_ = 0;    // bytes looked at
  size_t line_start_ = 0;  // of the current line
  size_t lines_ = 0;       // complete ones
  bool after_cr_ = false;
  HttpFault fault_;
};

// `head`: what HeadScanner found complete, its empty line included. On a fault `out` is unspecified
// but for minor_version, which tells how to answer.
HttpFault ParseHead(std::string_view head, const HeadLimits& limits, RequestHead* out);

// Checks one field line without its CR LF and splits it; also for trailers.
HttpFault ParseFieldLine(std::string_view line, Header* out);

// tchar of RFC 9110, 5.6.2, one or more.
bool IsToken(std::string_view text);
// Case-insensitive for ASCII.
bool EqualsNoCase(std::string_view a, std::string_view b);
std::string LowerAscii(std::string_view text);

}  // namespace rill::server
