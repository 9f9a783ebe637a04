#include "llm/http_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <memory>
#include <mutex>

#include "base/utf8.h"

namespace rill::llm {
namespace {

constexpr int kMaxRedirects = 10;
constexpr size_t kMaxErrorBody = 4096;
constexpr size_t kMaxUrlBytes = 16384;  // signed URLs of object stores are long

struct CurlDeleter {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  void operator()(char* text) const { curl_free(text); }
};
using CurlHandle = std::unique_ptr<CURL, CurlDeleter>;
using CurlUrl = std::unique_ptr<CURLU, CurlDeleter>;
using CurlList = std::unique_ptr<curl_slist, CurlDeleter>;
using CurlText = std::unique_ptr<char, CurlDeleter>;

void InitialiseCurl() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

Result<CurlUrl> ParseUrl(const std::string& text) {
  if (text.size() > kMaxUrlBytes) {
    return InvalidArgument("URL: expected at most " + std::to_string(kMaxUrlBytes) +
                           " bytes, got " + std::to_string(text.size()));
  }
  CurlUrl url(curl_url());
  if (!url || curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) {
    return InvalidArgument("not a URL: '" + PrintableUtf8(text) + "'");
  }
  return url;
}

std::string Part(const CurlUrl& url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url.get(), part, &text, flags) != CURLUE_OK) return {};
  const CurlText owned(text);
  return text;
}

std::string Origin(const CurlUrl& url) {
  return Part(url, CURLUPART_SCHEME) + "://" + Part(url, CURLUPART_HOST) + ":" +
         Part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
}

bool IsLoopback(std::string host) {
  for (char& c : host) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (host == "localhost" || host == "[::1]" || host == "::1") return true;
  // 127.a.b.c and nothing like "127.example.org".
  if (!host.starts_with("127.")) return false;
  return std::count(host.begin(), host.end(), '.') == 3 &&
         std::all_of(host.begin(), host.end(), [](char c) {
           return c == '.' || std::isdigit(static_cast<unsigned char>(c));
         });
}

Status CheckSafe(const CurlUrl& url, const std::string& text) {
  const std::string scheme = Part(url, CURLUPART_SCHEME);
  if (scheme == "https") return OkStatus();
  if (scheme == "http" && IsLoopback(Part(url, CURLUPART_HOST))) return OkStatus();
  return InvalidArgument("'" + PrintableUtf8(text) + "': expected an https URL" +
                         (scheme == "http" ? " (plain http is for this machine only)" : ""));
}

// State of one exchange (one redirect hop), shared with libcurl's callbacks.
struct Exchange {
  const HttpCallbacks* callbacks;
  HttpResponse* response;
  Status callback_error;
  bool body_started = false;
  bool cancelled = false;
};

bool IsSuccess(int status) {
  return status >= 200 && status < 300;
}

Status BeginBody(Exchange& exchange) {
  if (exchange.body_started) return OkStatus();
  exchange.body_started = true;
  if (!IsSuccess(exchange.response->status) || !exchange.callbacks->on_headers) return OkStatus();
  return exchange.callbacks->on_headers(*exchange.response);
}

size_t OnHeader(char* data, size_t, size_t size, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  std::string_view line(data, size);
  while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.remove_suffix(1);
  if (line.starts_with("HTTP/")) {  // a new header block (after "100 Continue" or a proxy's answer)
    exchange.response->headers.clear();
    const size_t space = line.find(' ');
    exchange.response->status = space == std::string_view::npos
                                    ? 0
                                    : std::atoi(std::string(line.substr(space + 1)).c_str());
    return size;
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return size;
  std::string name(line.substr(0, colon));
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  std::string_view value = line.substr(colon + 1);
  while (!value.empty() && (value[0] == ' ' || value[0] == '\t')) value.remove_prefix(1);
  while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
  exchange.response->headers[name] = std::string(value);
  return size;
}

size_t OnBody(char* data, size_t, size_t size, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  exchange.callback_error = BeginBody(exchange);
  if (!exchange.callback_error.ok()) return 0;
  if (!IsSuccess(exchange.response->status)) {
    std::string& body = exchange.response->error_body;
    body.append(data, std::min(size, kMaxErrorBody - body.size()));
    return size;
  }
  if (exchange.callbacks->on_bytes) {
    exchange.callback_error = exchange.callbacks->on_bytes({data, size});
    if (!exchange.callback_error.ok()) return 0;
  }
  return size;
}

int OnProgress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto& exchange = *static_cast<Exchange*>(user);
  if (exchange.callbacks->is_cancelled && exchange.callbacks->is_cancelled()) {
    exchange.cancelled = true;
    return 1;
  }
  return 0;
}

Status TransportError(CURLcode code, const char* detail, const std::string& host) {
  const std::string what = detail[0] ? detail : curl_easy_strerror(code);
  switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return FailedPrecondition(host + ": its certificate is refused: " + what);
    case CURLE_OUT_OF_MEMORY: return ResourceExhausted(host + ": out of memory");
    default: return Unavailable(host + ": " + what);
  }
}

// One hop. `token` is empty when the origin may not see it.
Status Perform(const HttpRequest& request, const CurlUrl& url, const std::string& token,
               Exchange& exchange) {
  CurlHandle curl(curl_easy_init());
  if (!curl) return ResourceExhausted("libcurl: out of memory");
  CURL* handle = curl.get();
  CurlList headers;
  const auto add_header = [&headers](const std::string& line) {
    curl_slist* longer = curl_slist_append(headers.get(), line.c_str());
    if (longer == nullptr) return;
    (void)headers.release();
    headers.reset(longer);
  };
  if (!token.empty()) add_header("Authorization: Bearer " + token);
  if (request.range_begin > 0) {
    add_header("Range: bytes=" + std::to_string(request.range_begin) + "-");
    if (!request.if_range.empty()) add_header("If-Range: " + request.if_range);
  }
  char error_text[CURL_ERROR_SIZE] = "";
  const std::string url_text = Part(url, CURLUPART_URL);
  curl_easy_setopt(handle, CURLOPT_URL, url_text.c_str());
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "https,http");
  curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  curl_easy_setopt(handle, CURLOPT_USERAGENT, "rill");
  curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT, static_cast<long>(request.timeouts.connect_s));
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME, static_cast<long>(request.timeouts.stall_s));
  curl_easy_setopt(handle, CURLOPT_BUFFERSIZE, 256L << 10);
  curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, error_text);
  curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, OnHeader);
  curl_easy_setopt(handle, CURLOPT_HEADERDATA, &exchange);
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, OnBody);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &exchange);
  curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, OnProgress);
  curl_easy_setopt(handle, CURLOPT_XFERINFODATA, &exchange);
  for (const char* variable : {"SSL_CERT_FILE", "CURL_CA_BUNDLE"}) {
    if (const char* bundle = std::getenv(variable); bundle != nullptr && bundle[0] != '\0') {
      curl_easy_setopt(handle, CURLOPT_CAINFO, bundle);
    }
  }

  const CURLcode code = curl_easy_perform(handle);
  if (exchange.cancelled) return Cancelled("download: stopped");
  if (!exchange.callback_error.ok()) return exchange.callback_error;
  if (code != CURLE_OK) return TransportError(code, error_text, Part(url, CURLUPART_HOST));
  return BeginBody(exchange);  // a body without a byte
}

}  // namespace

std::string_view HttpResponse::Header(const std::string& lower_case_name) const {
  const auto it = headers.find(lower_case_name);
  return it == headers.end() ? std::string_view() : std::string_view(it->second);
}

Result<HttpResponse> HttpGet(const HttpRequest& request, const HttpCallbacks& callbacks) {
  InitialiseCurl();
  RILL_ASSIGN_OR_RETURN(CurlUrl url, ParseUrl(request.url));
  const std::string token_origin = Origin(url);
  std::string first_etag;
  for (int hop = 0; hop <= kMaxRedirects; ++hop) {
    RILL_RETURN_IF_ERROR(CheckSafe(url, Part(url, CURLUPART_URL)));
    HttpResponse response;
    Exchange exchange{&callbacks, &response, {}, false, false};
    const std::string token = Origin(url) == token_origin ? request.bearer_token : std::string();
    RILL_RETURN_IF_ERROR(Perform(request, url, token, exchange));
    if (const auto etag = response.Header("x-linked-etag"); !etag.empty()) first_etag = etag;
    const int status = response.status;
    const bool redirected =
        status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
    const std::string location(response.Header("location"));
    if (!redirected || location.empty()) {
      response.url = Part(url, CURLUPART_URL);
      response.first_etag = first_etag;
      return response;
    }
    const bool was_https = Part(url, CURLUPART_SCHEME) == "https";
    if (location.size() > kMaxUrlBytes ||
        curl_url_set(url.get(), CURLUPART_URL, location.c_str(), 0) != CURLUE_OK) {
      return InvalidArgument(request.url + ": redirects to '" + PrintableUtf8(location) +
                             "', which is not a URL");
    }
    if (was_https && Part(url, CURLUPART_SCHEME) != "https") {
      return InvalidArgument(request.url + ": redirects from https to '" + PrintableUtf8(location) +
                             "'");
    }
  }
  return FailedPrecondition(request.url + ": more than 10 redirects");
}

Result<HttpText> HttpGetText(const HttpRequest& request, size_t max_bytes,
                             const std::function<bool()>& is_cancelled) {
  std::string body;
  HttpCallbacks callbacks;
  callbacks.is_cancelled = is_cancelled;
  callbacks.on_bytes = [&](std::string_view bytes) -> Status {
    if (bytes.size() > max_bytes - body.size()) {
      return ResourceExhausted(request.url + ": answer is longer than " +
                               std::to_string(max_bytes) + " bytes");
    }
    body.append(bytes);
    return OkStatus();
  };
  RILL_ASSIGN_OR_RETURN(HttpResponse response, HttpGet(request, callbacks));
  return HttpText{std::move(response), std::move(body)};
}

Status CheckUrlIsSafe(const std::string& url) {
  InitialiseCurl();
  RILL_ASSIGN_OR_RETURN(const CurlUrl parsed, ParseUrl(url));
  return CheckSafe(parsed, url);
}

Result<std::string> UrlFileName(const std::string& url) {
  InitialiseCurl();
  RILL_ASSIGN_OR_RETURN(const CurlUrl parsed, ParseUrl(url));
  // Split first, decode then: an encoded slash must not move the border of the last segment.
  const std::string path = Part(parsed, CURLUPART_PATH);
  const std::string segment = path.substr(path.rfind('/') + 1);
  int size = 0;
  const CurlText decoded(
      curl_easy_unescape(nullptr, segment.c_str(), static_cast<int>(segment.size()), &size));
  return std::string(decoded.get(), static_cast<size_t>(size));
}

std::string PercentEncodePath(std::string_view path) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) || c == '.' || c == '_' || c == '~' || c == '-' || c == '/') {
      out += c;
    } else {
      out += '%';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  return out;
}

}  // namespace rill::llm
