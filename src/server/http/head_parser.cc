#include "server/http/head_parser.h"

#include <algorithm>
#include <array>

namespace rill::server {

namespace {

constexpr std::array<bool, 256> MakeTokenTable() {
  std::array<bool, 256> table{};
  for (int c = '0'; c <= '9'; ++c) table[c] = true;
  for (int c = 'a'; c <= 'z'; ++c) table[c] = true;
  for (int c = 'A'; c <= 'Z'; ++c) table[c] = true;
  for (char c : {'!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~'}) {
    table[static_cast<unsigned char>(c)] = true;
  }
  return table;
}
constexpr std::array<bool, 256> kToken = MakeTokenTable();

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}
bool IsHex(char c) {
  return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}
bool IsAlnum(char c) {
  return IsDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// Bytes of a path or query: RFC 3986's unreserved, sub-delims, ':', '@', '/', '?', '%'; in the
// query also '[' and ']', which clients write unencoded.
bool IsTargetByte(char c, bool in_query) {
  if (IsAlnum(c)) return true;
  switch (c) {
    case '-':
    case '.':
    case '_':
    case '~':
    case '!':
    case '$':
    case '&':
    case '\'':
    case '(':
    case ')':
    case '*':
    case '+':
    case ',':
    case ';':
    case '=':
    case ':':
    case '@':
    case '/':
    case '?':
    case '%': return true;
    case '[':
    case ']': return in_query;
    default: return false;
  }
}

HttpFault Fault(int status, std::string_view code, std::string message) {
  return {status, std::string(code), std::move(message)};
}
HttpFault Malformed(std::string message) {
  return Fault(400, "malformed_request", std::move(message));
}

// host[:port] as RFC 3986 has it, without user info. Names are letters, digits, '-', '.', '_'.
bool IsHostPort(std::string_view text) {
  if (text.empty() || text.size() > 255 + 6) return false;
  size_t end = 0;
  if (text[0] == '[') {
    const size_t close = text.find(']');
    if (close == std::string_view::npos || close < 3) return false;
    for (char c : text.substr(1, close - 1)) {
      if (!IsHex(c) && c != ':' && c != '.') return false;
    }
    end = close + 1;
  } else {
    while (end < text.size() &&
           (IsAlnum(text[end]) || text[end] == '-' || text[end] == '.' || text[end] == '_')) {
      ++end;
    }
    if (end == 0) return false;
  }
  if (end == text.size()) return true;
  if (text[end] != ':') return false;
  const std::string_view port = text.substr(end + 1);
  if (port.empty() || port.size() > 5) return false;
  int value = 0;
  for (char c : port) {
    if (!IsDigit(c)) return false;
    value = value * 10 + (c - '0');
  }
  return value > 0 && value <= 65535;
}

// Fields that must not come twice: two of them are two readings of one request.
bool IsSingleton(std::string_view name) {
  for (std::string_view singleton :
       {"host", "content-length", "transfer-encoding", "authorization", "content-type", "expect",
        "content-encoding", "origin", "x-api-key", "x-request-id", "content-range", "range",
        "referer", "user-agent", "proxy-authorization", "date", "from", "max-forwards"}) {
    if (name == singleton) return true;
  }
  return false;
}

HttpFault ParseMethod(std::string_view text, RequestHead* out) {
  if (!IsToken(text)) return Malformed("request line: the method is not a token");
  out->method_text = text;
  for (Method method : {Method::kGet, Method::kHead, Method::kPost, Method::kPut, Method::kPatch,
                        Method::kDelete, Method::kOptions}) {
    if (text == MethodName(method)) {
      out->method = method;
      return {};
    }
  }
  if (text == "TRACE" || text == "CONNECT") {
    return Fault(405, "method_not_allowed", std::string(text) + " is not allowed");
  }
  return Fault(501, "unknown_method", "request line: unknown method");
}

HttpFault ParseVersion(std::string_view text, RequestHead* out) {
  if (text == "HTTP/1.1") {
    out->minor_version = 1;
    return {};
  }
  if (text == "HTTP/1.0") {
    out->minor_version = 0;
    return {};
  }
  if (text.size() == 8 && text.substr(0, 5) == "HTTP/" && IsDigit(text[5]) && text[6] == '.' &&
      IsDigit(text[7])) {
    return Fault(505, "http_version_not_supported", "expected HTTP/1.1 or HTTP/1.0");
  }
  return Malformed("request line: expected 'METHOD TARGET HTTP/1.1'");
}

HttpFault ParseTarget(std::string_view text, RequestHead* out) {
  if (text == "*") {
    if (out->method != Method::kOptions) return Malformed("target '*' is for OPTIONS only");
    out->target = text;
    return {};
  }
  if (!text.empty() && text[0] != '/') {
    // Absolute form: what a client sends to a proxy, and every server must understand.
    size_t skip = 0;
    for (std::string_view scheme : {"http://", "https://"}) {
      if (text.size() > scheme.size() && EqualsNoCase(text.substr(0, scheme.size()), scheme)) {
        skip = scheme.size();
      }
    }
    if (skip == 0) return Malformed("target: expected a path that begins with '/'");
    const size_t slash = std::min(text.find_first_of("/?", skip), text.size());
    const std::string_view authority = text.substr(skip, slash - skip);
    if (!IsHostPort(authority)) return Malformed("target: malformed host");
    out->host = LowerAscii(authority);
    text.remove_prefix(slash);
    if (text.empty() || text[0] != '/') {
      if (!text.empty()) return Malformed("target: expected a path after the host");
      text = "/";
    }
  }
  if (text.empty()) return Malformed("request line: expected one space before the target");
  bool in_query = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (!IsTargetByte(c, in_query)) {
      return Malformed("target: a byte that must be percent-encoded");
    }
    if (c == '?') in_query = true;
    if (c == '%' && !(i + 2 < text.size() && IsHex(text[i + 1]) && IsHex(text[i + 2]))) {
      return Malformed("target: '%' without two hexadecimal digits");
    }
  }
  out->target = text;
  return {};
}

// Calls visit(element) for each of a comma-separated list, without white space around.
template <typename Visit>
void ForEachElement(std::string_view list, Visit visit) {
  while (true) {
    const size_t comma = list.find(',');
    std::string_view element = list.substr(0, comma);
    while (!element.empty() && (element.front() == ' ' || element.front() == '\t')) {
      element.remove_prefix(1);
    }
    while (!element.empty() && (element.back() == ' ' || element.back() == '\t')) {
      element.remove_suffix(1);
    }
    if (!element.empty()) visit(element);
    if (comma == std::string_view::npos) return;
    list.remove_prefix(comma + 1);
  }
}

HttpFault ParseContentLength(std::string_view text, RequestHead* out) {
  if (text.empty() || text.size() > 19) return Malformed("Content-Length: expected digits");
  uint64_t value = 0;
  for (char c : text) {
    if (!IsDigit(c)) return Malformed("Content-Length: expected digits");
    value = value * 10 + static_cast<uint64_t>(c - '0');  // 19 digits fit 64 bits
  }
  out->content_length = value;
  out->has_content_length = true;
  return {};
}

HttpFault ParseConnection(std::string_view value, bool* close, bool* keep_alive) {
  HttpFault fault;
  ForEachElement(value, [&](std::string_view option) {
    if (!IsToken(option)) {
      fault = Malformed("Connection: expected tokens");
    } else if (EqualsNoCase(option, "close")) {
      *close = true;
    } else if (EqualsNoCase(option, "keep-alive")) {
      *keep_alive = true;
    } else {
      // A proxy removes what Connection names. Had it to remove one of these, we would read
      // another request than it did.
      for (std::string_view name : {"content-length", "transfer-encoding", "host", "authorization",
                                    "content-type", "x-api-key", "upgrade", "http2-settings"}) {
        if (EqualsNoCase(option, name)) {
          fault = Malformed("Connection must not name " + std::string(name));
        }
      }
    }
  });
  return fault;
}

// Everything that decides about framing, connection and authority.
HttpFault Interpret(RequestHead* out) {
  bool close = false, keep_alive = false, has_host = false, has_coding = false;
  for (size_t i = 0; i < out->fields.size(); ++i) {
    const Header& field = out->fields[i];
    if (IsSingleton(field.name)) {
      for (size_t j = 0; j < i; ++j) {
        if (out->fields[j].name == field.name) {
          return Malformed("two fields '" + field.name + "'");
        }
      }
    }
    HttpFault fault;
    if (field.name == "host") {
      has_host = true;
      if (!IsHostPort(field.value)) return Malformed("Host: expected host or host:port");
      const std::string host = LowerAscii(field.value);
      if (!out->host.empty() && out->host != host) {
        return Malformed("Host differs from the target's host");
      }
      out->host = host;
    } else if (field.name == "content-length") {
      fault = ParseContentLength(field.value, out);
    } else if (field.name == "transfer-encoding") {
      has_coding = true;
      if (!EqualsNoCase(field.value, "chunked")) {
        return Malformed("Transfer-Encoding: expected 'chunked' alone");
      }
      out->chunked = true;
    } else if (field.name == "connection") {
      fault = ParseConnection(field.value, &close, &keep_alive);
    } else if (field.name == "expect") {
      if (!EqualsNoCase(field.value, "100-continue")) {
        return Fault(417, "expectation_failed", "Expect: expected 100-continue");
      }
      out->expect_continue = out->minor_version == 1;
    } else if (field.name == "upgrade" || field.name == "http2-settings") {
      return Fault(400, "upgrade_not_supported",
                   "Upgrade is not supported: speak HTTP/1.1 without it (in Java: "
                   "HttpClient.Version.HTTP_1_1)");
    } else if (field.name == "content-encoding") {
      if (!field.value.empty() && !EqualsNoCase(field.value, "identity")) {
        return Fault(415, "unsupported_content_encoding",
                     "Content-Encoding: request bodies must not be compressed");
      }
    }
    if (fault) return fault;
  }
  if (out->minor_version == 1 && !has_host) return Malformed("no Host field");
  if (has_coding && out->has_content_length) {
    return Malformed("Content-Length and Transfer-Encoding together");
  }
  if (has_coding && out->minor_version == 0) {
    return Malformed("Transfer-Encoding in an HTTP/1.0 request");
  }
  // HTTP/1.0 connections are never kept: its keep-alive was an extension with holes.
  out->keep_alive = out->minor_version == 1 && !close;
  return {};
}

}  // namespace

bool IsToken(std::string_view text) {
  if (text.empty()) return false;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return kToken[static_cast<unsigned char>(c)]; });
}

bool EqualsNoCase(std::string_view a, std::string_view b) {
  auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                            [&](char x, char y) { return lower(x) == lower(y); });
}

std::string LowerAscii(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return out;
}

void HeadScanner::Reset() {
  position_ = line_start_ = lines_ = 0;
  after_cr_ = false;
  fault_ = {};
}

HeadScanner::State HeadScanner::Bad(int status, std::string_view code, std::string message) {
  fault_ = Fault(status, code, std::move(message));
  return State::kBad;
}

HeadScanner::State HeadScanner::Scan(std::string_view buffer) {
  static constexpr std::string_view kHttp2Preface = "PRI * HTTP/2.0\r\n";
  while (position_ < buffer.size()) {
    const auto byte = static_cast<unsigned char>(buffer[position_]);
    if (after_cr_) {
      if (byte != '\n') return Bad(400, "malformed_request", "CR without LF");
      const size_t line_bytes = position_ - 1 - line_start_;
      if (lines_ == 0) {
        if (line_bytes == 0) return Bad(400, "malformed_request", "empty request line");
        if (buffer.substr(0, kHttp2Preface.size()) == kHttp2Preface) {
          return Bad(505, "http_version_not_supported", "HTTP/2 is not spoken here: use HTTP/1.1");
        }
      }
      ++position_;
      after_cr_ = false;
      if (line_bytes == 0) return State::kComplete;
      ++lines_;
      line_start_ = position_;
      if (lines_ > limits_.max_header_fields + 1) {
        return Bad(431, "too_many_headers",
                   "more than " + std::to_string(limits_.max_header_fields) + " header fields");
      }
      continue;
    }
    if (byte == '\r') {
      after_cr_ = true;
    } else if (byte == '\n') {
      return Bad(400, "malformed_request", "LF without CR");
    } else if ((byte < 0x20 && byte != '\t') || byte == 0x7f) {
      return Bad(400, "malformed_request", "a control character in the head");
    } else if (lines_ == 0 && position_ == 0 && kToken[byte] == false) {
      return Bad(400, "malformed_request", "request line: the method is not a token");
    }
    if (byte != '\r' && lines_ == 0 && position_ >= limits_.max_request_line_bytes) {
      return Bad(414, "uri_too_long",
                 "the request line is longer than " +
                     std::to_string(limits_.max_request_line_bytes) + " bytes");
    }
    ++position_;
    if (position_ >= limits_.max_head_bytes) {
      return Bad(431, "headers_too_large",
                 "the head is larger than " + std::to_string(limits_.max_head_bytes) + " bytes");
    }
  }
  return State::kNeedMore;
}

HttpFault ParseFieldLine(std::string_view line, Header* out) {
  if (!line.empty() && (line[0] == ' ' || line[0] == '\t')) {
    return Malformed("a header line begins with white space (folding is not allowed)");
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return Malformed("a header line without ':'");
  const std::string_view name = line.substr(0, colon);
  if (!IsToken(name)) return Malformed("a header name is not a token");
  std::string_view value = line.substr(colon + 1);
  while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
  while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
  for (char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && byte != '\t') || byte == 0x7f) {
      return Malformed("a control character in a header value");
    }
  }
  out->name = LowerAscii(name);
  out->value = value;
  return {};
}

HttpFault ParseHead(std::string_view head, const HeadLimits& limits, RequestHead* out) {
  *out = RequestHead();
  const size_t first_end = head.find("\r\n");
  if (first_end == std::string_view::npos) return Malformed("no end of the request line");
  const std::string_view line = head.substr(0, first_end);
  const size_t space = line.find(' ');
  const size_t last_space = line.rfind(' ');
  if (space == std::string_view::npos || space == last_space) {
    return Malformed("request line: expected 'METHOD TARGET HTTP/1.1'");
  }
  // The version first: it decides how the answer to any later fault is framed.
  if (HttpFault fault = ParseVersion(line.substr(last_space + 1), out)) return fault;
  if (HttpFault fault = ParseMethod(line.substr(0, space), out)) return fault;
  if (HttpFault fault = ParseTarget(line.substr(space + 1, last_space - space - 1), out)) {
    return fault;
  }
  size_t position = first_end + 2;
  while (true) {
    const size_t end = head.find("\r\n", position);
    if (end == std::string_view::npos) return Malformed("no end of the head");
    if (end == position) break;
    if (out->fields.size() == limits.max_header_fields) {
      return Fault(431, "too_many_headers", "too many header fields");
    }
    Header field;
    if (HttpFault fault = ParseFieldLine(head.substr(position, end - position), &field)) {
      return fault;
    }
    out->fields.push_back(std::move(field));
    position = end + 2;
  }
  return Interpret(out);
}

}  // namespace rill::server
