// The client of a load test: one thread, one event loop, a coroutine for each request under way.
#include "rill/load_test.h"

#include <openssl/ssl.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <cmath>
#include <exception>
#include <memory>
#include <new>
#include <optional>

#include "base/utf8.h"
#include "server/load/response_parser.h"
#include "server/load/sse_parser.h"
#include "server/load/stream_event.h"
#include "server/load/url.h"

namespace rill {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using server::ResponseParser;
using server::Url;
using Clock = std::chrono::steady_clock;

constexpr auto kUse = asio::as_tuple(asio::use_awaitable);
// Of a coroutine that nobody waits for: what it throws (no memory) comes out of run().
constexpr auto kRethrow = [](std::exception_ptr thrown) {
  if (thrown) std::rethrow_exception(thrown);
};
constexpr size_t kMaxErrorBody = 64 << 10;
constexpr size_t kMaxModelList = 4 << 20;
// For the end of a body of which nothing more is wanted: its connection can be used again then.
constexpr auto kEndOfBody = std::chrono::milliseconds(250);

// One connection to the server; used by one request at a time.
struct Link {
  explicit Link(asio::io_context& context) : socket(context) {}
  tcp::socket socket;
  std::optional<asio::ssl::stream<tcp::socket&>> tls;
  bool used = false;  // has served a request: the server may have closed it since
  bool timed_out = false;

  void Close() {
    error_code ignored;
    socket.close(ignored);
  }
};

class Runner {
 public:
  Runner(const LoadTestOptions& options, Url url,
         const std::function<void(int64_t, int64_t)>& progress, const std::atomic<bool>* cancel)
      : options_(options),
        url_(std::move(url)),
        progress_(progress),
        cancel_(cancel),
        samples_(options.requests.size()),
        ticker_(context_),
        free_slot_(context_) {}

  Status Prepare();
  LoadReport Run();

 private:
  double Now() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }
  std::string RequestBytes(const std::string& method, const std::string& path,
                           const std::string& body) const;
  std::string Prompt(size_t index) const;
  std::string Body(size_t index) const;

  // `error`: "" once it is connected, its TLS handshake included.
  asio::awaitable<void> Connect(std::shared_ptr<Link> link, std::string* error);
  // Why an operation on `link` failed: what we did to it, else `failure`.
  std::string Reason(const Link& link, const char* step, const error_code& failure) const;
  // Takes what has come of a body out of the string; true: no more of it is wanted, whatever
  // becomes of the rest.
  using OnBody = std::function<bool(std::string*)>;
  // Sends and reads one answer. `sent_again`: counts how often it was sent but for the first time.
  asio::awaitable<void> Exchange(std::string request, OnBody on_body, ResponseParser* parser,
                                 std::string* error, int32_t* sent_again);
  asio::awaitable<bool> Try(std::shared_ptr<Link> link, const std::string& request,
                            const OnBody& on_body, asio::steady_timer& deadline,
                            ResponseParser* parser, std::string* error);
  // Closes the link when the time is over.
  static void Limit(const std::shared_ptr<Link>& link, asio::steady_timer& deadline);
  asio::awaitable<void> One(size_t index);
  asio::awaitable<void> ClosedClient();
  asio::awaitable<void> Dispatcher();
  asio::awaitable<void> Ticker();
  // Until `*done`: ends what is under way once the user asks for it.
  asio::awaitable<void> WatchCancel(const bool* done);
  void StopIfCancelled();
  std::vector<double> ArrivalTimes() const;
  void Finished();

  const LoadTestOptions& options_;
  const Url url_;
  const std::function<void(int64_t, int64_t)>& progress_;
  const std::atomic<bool>* const cancel_;
  asio::io_context context_{1};
  std::optional<asio::ssl::context> tls_;
  tcp::resolver::results_type endpoints_;
  std::string model_;
  Json extra_;
  Clock::time_point start_;
  std::vector<LoadSample> samples_;
  std::vector<std::shared_ptr<Link>> idle_;
  std::vector<std::weak_ptr<Link>> active_;
  asio::steady_timer ticker_, free_slot_;
  size_t next_ = 0, done_ = 0;
  int32_t under_way_ = 0;
  bool cancelled_ = false;
};

// ": …", what the body of a refusal says in OpenAI's form, or nothing.
std::string ReasonOf(const std::string& body) {
  const auto parsed = Json::Parse(body, "answer");
  const Json* detail = parsed.ok() ? parsed->Find("error") : nullptr;
  return detail && !detail->is_null() ? ": " + server::ErrorText(*detail) : "";
}

std::string Runner::RequestBytes(const std::string& method, const std::string& path,
                                 const std::string& body) const {
  std::string out = method + " " + url_.prefix + path + " HTTP/1.1\r\nHost: " + url_.authority +
                    "\r\nUser-Agent: rill-bench\r\nAccept: */*\r\n";
  if (!options_.api_key.empty()) out += "Authorization: Bearer " + options_.api_key + "\r\n";
  if (!body.empty()) {
    out +=
        "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  }
  return out + "\r\n" + body;
}

std::string Runner::Prompt(size_t index) const {
  const LoadRequest& request = options_.requests[index];
  std::string text;
  if (options_.prefix_tokens > 0) {
    const auto prefix = index % static_cast<size_t>(options_.num_prefixes);
    text = MakePromptText(options_.prefix_tokens, prefix) + "\n\n";
  }
  return text + (request.prompt_tokens > 0 ? MakePromptText(request.prompt_tokens, index)
                                           : request.prompt);
}

std::string Runner::Body(size_t index) const {
  Json body;
  body.Set("model", model_);
  if (options_.chat) {
    Json message;
    message.Set("role", "user");
    message.Set("content", Prompt(index));
    body.Set("messages", Json::Array{std::move(message)});
  } else {
    body.Set("prompt", Prompt(index));
  }
  body.Set("max_tokens", options_.requests[index].max_tokens);
  body.Set("temperature", options_.temperature);
  body.Set("stream", true);
  Json stream_options;
  stream_options.Set("include_usage", true);
  body.Set("stream_options", std::move(stream_options));
  if (options_.ignore_eos) body.Set("ignore_eos", true);
  if (extra_.is_object()) {
    for (const auto& [name, value] : extra_.object()) body.Set(name, value);
  }
  return body.Dump();
}

std::string Runner::Reason(const Link& link, const char* step, const error_code& failure) const {
  if (cancelled_) return "cancelled";
  return link.timed_out ? "timeout" : step + failure.message();
}

asio::awaitable<void> Runner::Connect(std::shared_ptr<Link> link, std::string* error) {
  auto [connect_error, endpoint] = co_await asio::async_connect(link->socket, endpoints_, kUse);
  if (connect_error) {
    *error = Reason(*link, "connect: ", connect_error);
    co_return;
  }
  error_code ignored;
  link->socket.set_option(tcp::no_delay(true), ignored);
  if (!url_.tls) co_return;
  link->tls.emplace(link->socket, *tls_);
  SSL_set_tlsext_host_name(link->tls->native_handle(), url_.host.c_str());
  if (!options_.insecure_tls) {
    link->tls->set_verify_callback(asio::ssl::host_name_verification(url_.host), ignored);
  }
  auto [tls_error] = co_await link->tls->async_handshake(asio::ssl::stream_base::client, kUse);
  if (tls_error) *error = Reason(*link, "TLS: ", tls_error);
}

// False when the connection was found closed before a byte of the answer: try another one.
asio::awaitable<bool> Runner::Try(std::shared_ptr<Link> link, const std::string& request,
                                  const OnBody& on_body, asio::steady_timer& deadline,
                                  ResponseParser* parser, std::string* error) {
  error_code failure;
  if (link->tls) {
    auto [write_error, count] = co_await asio::async_write(*link->tls, asio::buffer(request), kUse);
    failure = write_error;
  } else {
    auto [write_error, count] =
        co_await asio::async_write(link->socket, asio::buffer(request), kUse);
    failure = write_error;
  }
  std::string buffer(16 << 10, '\0');
  std::string body;
  bool any = false, enough = false, has_more = false;
  while (!failure) {
    size_t count = 0;
    if (link->tls) {
      auto [read_error, read] = co_await link->tls->async_read_some(asio::buffer(buffer), kUse);
      failure = read_error;
      count = read;
    } else {
      auto [read_error, read] = co_await link->socket.async_read_some(asio::buffer(buffer), kUse);
      failure = read_error;
      count = read;
    }
    ResponseParser::State state = ResponseParser::State::kNeedMore;
    if (failure) {
      if (any && (failure == asio::error::eof || failure == asio::ssl::error::stream_truncated)) {
        state = parser->FeedEof();
      }
    } else {
      any = true;
      size_t consumed = 0;
      state = parser->Feed(std::string_view(buffer).substr(0, count), &consumed, &body);
      has_more = consumed < count;
      if (parser->head_complete() && on_body(&body) && !enough) {
        enough = true;
        if (state == ResponseParser::State::kNeedMore) {
          deadline.expires_after(kEndOfBody);
          Limit(link, deadline);
        }
      }
    }
    if (state == ResponseParser::State::kBad) {
      if (!enough) *error = parser->error();
      link->Close();
      co_return true;
    }
    if (state == ResponseParser::State::kComplete) {
      link->used = true;
      // What is left over nobody asked for, and the next request's answer would begin with it.
      if (parser->keep_alive() && !failure && !has_more) {
        idle_.push_back(link);
      } else {
        link->Close();
      }
      co_return true;
    }
  }
  link->Close();
  if (!any && link->used && !link->timed_out && !cancelled_) co_return false;
  if (!enough) *error = Reason(*link, "connection lost: ", failure);
  co_return true;
}

void Runner::Limit(const std::shared_ptr<Link>& link, asio::steady_timer& deadline) {
  deadline.async_wait([weak = std::weak_ptr<Link>(link)](error_code code) {
    if (auto self = weak.lock(); self && !code) {
      self->timed_out = true;
      self->Close();
    }
  });
}

asio::awaitable<void> Runner::Exchange(std::string request, OnBody on_body, ResponseParser* parser,
                                       std::string* error, int32_t* sent_again) {
  asio::steady_timer deadline(context_);
  deadline.expires_after(
      std::chrono::microseconds(static_cast<int64_t>(options_.request_timeout_s * 1e6)));
  bool was_sent = false;
  while (!cancelled_) {
    std::shared_ptr<Link> link;
    const bool fresh = idle_.empty() || was_sent;
    if (fresh) {
      link = std::make_shared<Link>(context_);
      active_.push_back(link);
    } else {
      link = idle_.back();
      idle_.pop_back();
      // Nor does it begin with what came since. (Over TLS there may be a session ticket.)
      error_code ignored;
      if (!link->tls && link->socket.available(ignored) > 0) {
        link->Close();
        continue;
      }
    }
    // From here on: a server may take a connection and never finish the handshake.
    deadline.cancel();
    Limit(link, deadline);
    if (fresh) {
      co_await Connect(link, error);
      if (!error->empty()) co_return;
    }
    if (was_sent) ++*sent_again;
    was_sent = true;
    if (co_await Try(link, request, on_body, deadline, parser, error)) co_return;
    *parser = ResponseParser();
  }
  *error = "cancelled";
}

asio::awaitable<void> Runner::One(size_t index) {
  LoadSample& sample = samples_[index];
  ++under_way_;
  ResponseParser parser;
  server::SseParser sse;
  std::vector<std::string> events;
  bool done = false, too_large = false;
  int64_t usage_tokens = -1;
  std::string refusal;
  auto on_body = [&](std::string* body) {
    if (body->empty()) return false;
    const double now = Now();
    if (parser.status() != 200) {
      if (refusal.size() < kMaxErrorBody) refusal += *body;
      body->clear();
      return false;
    }
    events.clear();
    // Nothing is read of a stream after its end, or after what cannot be.
    if (!done && !too_large) too_large = !sse.Feed(*body, &events);
    body->clear();
    for (const std::string& data : events) {
      if (data == "[DONE]") {
        done = true;
        sample.end_s = now;
        break;
      }
      const server::StreamEvent event = server::ReadStreamEvent(data);
      if (!event.error.empty() && sample.error.empty()) sample.error = event.error;
      if (event.output_tokens >= 0) usage_tokens = event.output_tokens;
      if (event.prompt_tokens >= 0) sample.prompt_tokens = event.prompt_tokens;
      // A token whose text is held back has an event without text (vLLM, Rill). The first token is
      // the first text all the same: heads of streams are not always told from it.
      if (event.has_text || (event.has_empty && !sample.events_s.empty())) {
        sample.events_s.push_back(now);
      }
    }
    if (too_large && !done && sample.error.empty()) sample.error = "an event over 1 MiB";
    return done || too_large;
  };
  std::string error;
  const std::string path = options_.chat ? "/v1/chat/completions" : "/v1/completions";
  std::string bytes = RequestBytes("POST", path, Body(index));
  co_await Exchange(std::move(bytes), on_body, &parser, &error, &sample.sent_again);
  if (sample.end_s == 0 || !done) sample.end_s = Now();
  if (!error.empty()) {
    sample.error = error;
  } else if (parser.status() != 200) {
    sample.error = "HTTP " + std::to_string(parser.status()) + ReasonOf(refusal);
  } else if (sample.error.empty() && !done) {
    sample.error = "the stream ended without [DONE]";
  } else if (sample.error.empty() && sample.events_s.empty() && usage_tokens <= 0) {
    sample.error = "a stream without a token";
  }
  sample.output_tokens =
      usage_tokens >= 0 ? usage_tokens : static_cast<int64_t>(sample.events_s.size());
  Finished();
}

void Runner::Finished() {
  --under_way_;
  ++done_;
  free_slot_.cancel();
  if (done_ == samples_.size()) ticker_.cancel();
}

asio::awaitable<void> Runner::ClosedClient() {
  while (next_ < samples_.size() && !cancelled_) {
    const size_t index = next_++;
    samples_[index].arrival_s = Now();
    co_await One(index);
  }
}

std::vector<double> Runner::ArrivalTimes() const {
  std::vector<double> times(samples_.size(), 0);
  uint64_t state = options_.seed;
  double at = 0;
  for (size_t i = 0; i < times.size(); ++i) {
    if (options_.arrival == Arrival::kTrace) {
      times[i] = options_.requests[i].arrival_s / options_.speed;
    } else if (options_.arrival == Arrival::kPoisson) {
      // splitmix64, then an exponential gap.
      state += 0x9e3779b97f4a7c15ull;
      uint64_t z = state;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
      z ^= z >> 31;
      const double uniform = static_cast<double>(z >> 11) * 0x1.0p-53;
      at += -std::log1p(-uniform) / options_.rate;
      times[i] = at;
    }
  }
  return times;
}

asio::awaitable<void> Runner::Dispatcher() {
  const std::vector<double> times = ArrivalTimes();
  asio::steady_timer timer(context_);
  for (; next_ < times.size() && !cancelled_; ++next_) {
    const double at = times[next_];
    // What is late is not moved: its wait is the server's.
    samples_[next_].arrival_s = at;
    while (Now() < at && !cancelled_) {
      const double left = std::min(at - Now(), 0.1);
      timer.expires_after(std::chrono::microseconds(static_cast<int64_t>(left * 1e6) + 1));
      co_await timer.async_wait(kUse);
    }
    while (options_.concurrency > 0 && under_way_ >= options_.concurrency && !cancelled_) {
      free_slot_.expires_at(Clock::time_point::max());
      co_await free_slot_.async_wait(kUse);
    }
    if (cancelled_) break;
    const size_t index = next_;
    asio::co_spawn(context_, [this, index] { return One(index); }, kRethrow);
  }
}

asio::awaitable<void> Runner::Ticker() {
  while (done_ < samples_.size() && !cancelled_) {
    ticker_.expires_after(std::chrono::milliseconds(100));
    co_await ticker_.async_wait(kUse);
    if (progress_) progress_(static_cast<int64_t>(done_), static_cast<int64_t>(samples_.size()));
    std::erase_if(active_, [](const auto& link) { return link.expired(); });
    StopIfCancelled();
  }
  idle_.clear();
}

void Runner::StopIfCancelled() {
  if (!cancel_ || !*cancel_ || done_ == samples_.size()) return;
  cancelled_ = true;
  free_slot_.cancel();
  for (const auto& weak : active_) {
    if (auto link = weak.lock()) link->Close();
  }
}

asio::awaitable<void> Runner::WatchCancel(const bool* done) {
  while (!*done && !cancelled_) {
    ticker_.expires_after(std::chrono::milliseconds(100));
    co_await ticker_.async_wait(kUse);
    if (!*done) StopIfCancelled();
  }
}

Status Runner::Prepare() {
  if (options_.requests.empty()) return InvalidArgument("load test: no requests");
  if (options_.arrival == Arrival::kClosed && options_.concurrency < 1) {
    return InvalidArgument("concurrency: expected at least 1");
  }
  if (options_.prefix_tokens > 0 && options_.num_prefixes < 1) {
    return InvalidArgument("num_prefixes: expected at least 1");
  }
  if (!(options_.rate > 0) || !(options_.speed > 0)) {
    return InvalidArgument("rate and speed: expected more than 0");
  }
  if (!options_.extra_body.empty()) {
    RILL_ASSIGN_OR_RETURN(extra_, Json::Parse(options_.extra_body, "extra body"));
    if (!extra_.is_object()) return InvalidArgument("extra body: expected a JSON object");
  }
  if (url_.tls) {
    tls_.emplace(asio::ssl::context::tls_client);
    error_code ignored;
    tls_->set_default_verify_paths(ignored);
    tls_->set_verify_mode(options_.insecure_tls ? asio::ssl::verify_none : asio::ssl::verify_peer,
                          ignored);
  }
  error_code error;
  tcp::resolver resolver(context_);
  endpoints_ = resolver.resolve(url_.host, url_.port, error);
  if (error) return Unavailable(url_.authority + ": " + error.message());
  model_ = options_.model;
  if (!model_.empty()) return OkStatus();

  ResponseParser parser;
  std::string failure, body;
  bool done = false;
  start_ = Clock::now();
  asio::co_spawn(
      context_,
      [&]() -> asio::awaitable<void> {
        std::string bytes = RequestBytes("GET", "/v1/models", "");
        auto keep = [&](std::string* part) {
          if (body.size() < kMaxModelList) body += *part;
          part->clear();
          return false;
        };
        int32_t sent_again = 0;
        co_await Exchange(std::move(bytes), keep, &parser, &failure, &sent_again);
        done = true;
        ticker_.cancel();
      },
      kRethrow);
  asio::co_spawn(context_, WatchCancel(&done), kRethrow);
  context_.run();
  context_.restart();
  if (cancelled_) return Cancelled("interrupted");
  if (!failure.empty()) return Unavailable(options_.url + ": " + failure);
  const std::string address =
      (url_.tls ? "https://" : "http://") + url_.authority + url_.prefix + "/v1/models";
  if (parser.status() != 200) {
    return Unavailable(address + ": HTTP " + std::to_string(parser.status()) + ReasonOf(body));
  }
  RILL_ASSIGN_OR_RETURN(const Json models, Json::Parse(body, address));
  const Json* data = models.Find("data");
  if (!data || !data->is_array() || data->array().empty()) {
    return NotFound(address + ": lists no model; name one");
  }
  RILL_ASSIGN_OR_RETURN(model_, data->array()[0].GetString("id", ""));
  return OkStatus();
}

LoadReport Runner::Run() {
  start_ = Clock::now();
  auto spawn = [this](auto coroutine) { asio::co_spawn(context_, coroutine, kRethrow); };
  if (options_.arrival == Arrival::kClosed) {
    const size_t clients = std::min(samples_.size(), static_cast<size_t>(options_.concurrency));
    for (size_t i = 0; i < clients; ++i) spawn([this] { return ClosedClient(); });
  } else {
    spawn([this] { return Dispatcher(); });
  }
  spawn([this] { return Ticker(); });
  context_.run();
  if (cancelled_) {
    for (size_t i = next_; i < samples_.size(); ++i) {
      samples_[i].error = "not sent";
      samples_[i].arrival_s = samples_[i].end_s = Now();
    }
  }
  LoadReport report = MakeLoadReport(std::move(samples_));
  report.cancelled = cancelled_;
  return report;
}

// It stands in a header field: a line's end in it would begin another one.
Status CheckApiKey(const std::string& key) {
  for (size_t i = 0; i < key.size(); ++i) {
    const auto byte = static_cast<unsigned char>(key[i]);
    if (byte >= ' ' && byte != 0x7f) continue;
    return InvalidArgument("API key: expected no control character, got '" +
                           PrintableUtf8(key.substr(i, 1), 8) + "' at offset " + std::to_string(i));
  }
  return OkStatus();
}

}  // namespace

Result<LoadReport> RunLoadTest(const LoadTestOptions& options,
                               const std::function<void(int64_t, int64_t)>& progress,
                               const std::atomic<bool>* cancel) {
  try {
    RILL_ASSIGN_OR_RETURN(Url url, server::ParseUrl(options.url));
    RILL_RETURN_IF_ERROR(CheckApiKey(options.api_key));
    Runner runner(options, std::move(url), progress, cancel);
    RILL_RETURN_IF_ERROR(runner.Prepare());
    return runner.Run();
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("load test: not enough memory for " +
                             std::to_string(options.requests.size()) + " requests and their times");
  }
}

}  // namespace rill
