#include "server/http/exchange.h"

#include <ctime>
#include <new>

#include "server/errors.h"
#include "server/http/head_parser.h"

namespace rill::server {

namespace {

// A socket that has taken nothing for so long has no reader: its stream gets no more budget.
constexpr std::chrono::milliseconds kStalled{1000};

// Values come from models, requests and configuration: none may end the line.
std::string SafeValue(std::string value) {
  for (char& c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && byte != '\t') || byte == 0x7f) c = '?';
  }
  return value;
}

void AppendHeader(std::string& out, std::string_view name, std::string_view value) {
  out += name;
  out += ": ";
  out += value;
  out += "\r\n";
}

// Fields that the transport alone writes.
bool IsReserved(std::string_view name) {
  for (std::string_view own : {"content-length", "transfer-encoding", "connection", "date",
                               "x-request-id", "openai-processing-ms", "x-content-type-options"}) {
    if (EqualsNoCase(name, own)) return true;
  }
  return false;
}

}  // namespace

std::string HttpDate() {
  static thread_local std::time_t last = 0;
  static thread_local std::string text;
  const std::time_t now = std::time(nullptr);
  if (now != last) {
    static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                              "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    std::tm utc{};
    gmtime_r(&now, &utc);
    char buffer[64];
    std::snprintf(buffer, sizeof(buffer), "%s, %02d %s %04d %02d:%02d:%02d GMT", kDays[utc.tm_wday],
                  utc.tm_mday, kMonths[utc.tm_mon], utc.tm_year + 1900, utc.tm_hour, utc.tm_min,
                  utc.tm_sec);
    text = buffer;
    last = now;
  }
  return text;
}

Exchange::Exchange(std::shared_ptr<HttpRequest> request, Options options)
    : request_(std::move(request)), options_(std::move(options)) {}

void Exchange::Wake() {
  if (waking_ || !options_.wake) return;
  waking_ = true;
  try {
    options_.wake();
  } catch (const std::bad_alloc&) {
    // The connection looks at its next tick.
  }
}

void Exchange::Queue(std::string bytes) {
  const size_t size = bytes.size();
  out_.push_back(std::move(bytes));
  unsent_bytes_ += size;
  last_write_ = std::chrono::steady_clock::now();
  Wake();
}

// Without memory for it nothing has been sent: another answer may follow.
void Exchange::Head(int status, std::vector<Header>& headers, const std::string* body) {
  const bool no_body = status == 204 || status == 304 || status < 200;
  if (options_.draining && options_.draining()) options_.close = true;
  std::string out;
  out.reserve(512 + (body ? body->size() : 0));
  out += "HTTP/1.1 " + std::to_string(status) + " ";
  out += ReasonPhrase(status);
  out += "\r\n";
  for (const std::vector<Header>* list : {&headers, &options_.extra_headers}) {
    for (const Header& header : *list) {
      if (!IsToken(header.name) || IsReserved(header.name)) continue;
      if (EqualsNoCase(header.name, "content-type")) {
        event_stream_ = header.value.rfind("text/event-stream", 0) == 0;
      }
      AppendHeader(out, header.name, SafeValue(header.value));
    }
  }
  AppendHeader(out, "date", HttpDate());
  if (!request_->request_id.empty()) AppendHeader(out, "x-request-id", request_->request_id);
  const auto elapsed = std::chrono::steady_clock::now() - request_->received;
  AppendHeader(
      out, "openai-processing-ms",
      std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(elapsed).count()));
  AppendHeader(out, "x-content-type-options", "nosniff");
  if (body) {
    if (!no_body) AppendHeader(out, "content-length", std::to_string(body->size()));
  } else if (options_.http_1_0) {
    options_.close = true;  // its end is the connection's end
  } else {
    chunked_ = true;
    AppendHeader(out, "transfer-encoding", "chunked");
  }
  if (options_.close) AppendHeader(out, "connection", "close");
  out += "\r\n";
  if (body && !options_.head_only && !no_body) {
    out += *body;
    body_bytes_ += body->size();
  }
  Queue(std::move(out));
  started_ = true;
  status_ = status;
}

void Exchange::Send(int status, std::vector<Header> headers, std::string body) {
  std::lock_guard lock(mutex_);
  if (started_ || gone_ || aborted_) return;
  Head(status, headers, &body);
  ended_ = true;
}

void Exchange::StartStream(int status, std::vector<Header> headers) {
  std::lock_guard lock(mutex_);
  if (started_ || gone_ || aborted_) return;
  Head(status, headers, nullptr);
  streaming_ = true;
}

void Exchange::StartStreamAfter(std::chrono::milliseconds wait, int status,
                                std::vector<Header> headers) {
  std::lock_guard lock(mutex_);
  if (started_ || gone_ || aborted_) return;
  late_start_ = LateStart{std::chrono::steady_clock::now() + wait, status, std::move(headers)};
}

bool Exchange::HasStartedStream() {
  std::lock_guard lock(mutex_);
  late_start_.reset();
  return streaming_;
}

bool Exchange::MayWait(size_t bytes) {
  const auto wanted = static_cast<int64_t>(unsent_bytes_ + bytes);
  int64_t allowed = static_cast<int64_t>(options_.max_unsent_bytes);
  if (hold_) allowed += hold_->bytes();
  if (wanted <= allowed) return true;
  // What the socket was not offered yet says nothing of the client.
  const bool stalled = in_flight_ && std::chrono::steady_clock::now() - last_progress_ > kStalled;
  return hold_ && !stalled && hold_->Grow(wanted - allowed) == AnswerBudget::Verdict::kFits;
}

void Exchange::UseBudget(std::shared_ptr<AnswerBudget::Hold> hold) {
  std::lock_guard lock(mutex_);
  if (!gone_) hold_ = std::move(hold);
}

bool Exchange::WriteLocked(std::string_view event) {
  if (!streaming_ || ended_ || aborted_ || gone_) return false;
  if (event.empty() || options_.head_only) return true;  // an empty chunk would end the body
  if (unsent_bytes_ > 0 && !MayWait(event.size())) {
    overflowed_ = true;
    aborted_ = true;
    waking_ = false;  // the writer waits for the socket and takes nothing: see WakeWriter()
    Wake();
    return false;
  }
  body_bytes_ += event.size();
  if (!chunked_) {
    Queue(std::string(event));
    return true;
  }
  char size[24];
  const int digits = std::snprintf(size, sizeof(size), "%zx\r\n", event.size());
  std::string chunk;
  chunk.reserve(event.size() + static_cast<size_t>(digits) + 2);
  chunk.append(size, static_cast<size_t>(digits));
  chunk += event;
  chunk += "\r\n";
  Queue(std::move(chunk));
  return true;
}

bool Exchange::Write(std::string_view event) {
  std::lock_guard lock(mutex_);
  return WriteLocked(event);
}

void Exchange::End() {
  std::lock_guard lock(mutex_);
  if (!streaming_ || ended_ || aborted_ || gone_) return;
  try {
    if (chunked_ && !options_.head_only) {
      // The last event and the end of the body in one segment, when it still waits.
      if (out_.size() > (in_flight_ ? 1u : 0u)) {
        out_.back() += "0\r\n\r\n";
        unsent_bytes_ += 5;
      } else {
        Queue("0\r\n\r\n");
      }
    }
    ended_ = true;
  } catch (const std::bad_alloc&) {
    aborted_ = true;  // the client would wait for the end of the body
  }
  Wake();
}

void Exchange::Abort() {
  std::lock_guard lock(mutex_);
  if (ended_ || gone_ || aborted_) return;
  aborted_ = true;
  Wake();
}

void Exchange::Abandon() {
  {
    std::lock_guard lock(mutex_);
    if (ended_ || gone_ || aborted_) return;
    if (started_) {
      aborted_ = true;
      Wake();
      return;
    }
  }
  try {
    Send(500, {{"content-type", "application/json"}},
         MakeError(500, "internal_error", "the server gave no answer").Body());
  } catch (const std::bad_alloc&) {
    // Runs in destructors: without memory for an answer the connection is closed.
    Abort();
  }
}

void Exchange::OnGone(std::function<void()> callback) {
  {
    std::lock_guard lock(mutex_);
    if (!gone_) {
      on_gone_ = std::move(callback);
      return;
    }
  }
  if (callback) callback();
}

bool Exchange::gone() const {
  std::lock_guard lock(mutex_);
  return gone_ || overflowed_;
}

Exchange::Next Exchange::Take(std::string* out) {
  std::lock_guard lock(mutex_);
  waking_ = false;
  if (aborted_) return Next::kAbort;
  if (!out_.empty()) {
    // The element stays as the queue's front, so that unsent bytes and End() see it.
    *out = std::move(out_.front());
    in_flight_ = true;
    last_progress_ = std::chrono::steady_clock::now();
    return Next::kBytes;
  }
  return ended_ ? Next::kEnd : Next::kNothing;
}

void Exchange::Sent(size_t bytes) {
  std::lock_guard lock(mutex_);
  unsent_bytes_ -= bytes;
  out_.pop_front();
  in_flight_ = false;
}

void Exchange::Progress() {
  std::lock_guard lock(mutex_);
  last_progress_ = std::chrono::steady_clock::now();
}

void Exchange::MarkGone() {
  std::function<void()> callback;
  {
    std::lock_guard lock(mutex_);
    if (gone_) return;
    gone_ = true;
    out_.clear();
    unsent_bytes_ = 0;
    in_flight_ = false;
    hold_.reset();
    callback.swap(on_gone_);
  }
  if (callback) callback();
}

void Exchange::Detach() {
  // Destroyed after the mutex is free: they may hold the last reference to something that calls
  // back.
  std::function<void()> on_gone, wake;
  std::function<bool()> draining;
  std::shared_ptr<AnswerBudget::Hold> hold;
  std::lock_guard lock(mutex_);
  hold.swap(hold_);
  on_gone.swap(on_gone_);
  wake.swap(options_.wake);
  draining.swap(options_.draining);
}

bool Exchange::HasNext() const {
  std::lock_guard lock(mutex_);
  return !in_flight_ && (aborted_ || ended_ || !out_.empty());
}

bool Exchange::close_after() const {
  std::lock_guard lock(mutex_);
  return options_.close;
}

bool Exchange::overflowed() const {
  std::lock_guard lock(mutex_);
  return overflowed_;
}

void Exchange::Tick(std::chrono::steady_clock::time_point now, std::chrono::milliseconds interval) {
  std::lock_guard lock(mutex_);
  if (late_start_ && !started_ && !gone_ && !aborted_ && now >= late_start_->when) {
    Head(late_start_->status, late_start_->headers, nullptr);
    streaming_ = true;
    late_start_.reset();
    WriteLocked(": queued\n\n");
    return;
  }
  if (!event_stream_ || !streaming_ || ended_ || !out_.empty()) return;
  if (now - last_write_ >= interval) WriteLocked(": ping\n\n");
}

int Exchange::status() const {
  std::lock_guard lock(mutex_);
  return status_;
}

uint64_t Exchange::body_bytes() const {
  std::lock_guard lock(mutex_);
  return body_bytes_;
}

}  // namespace rill::server
