// Exchange: one request and its answer, between a handler's threads and the connection's I/O
// thread.
//
// Invariants:
//   - bytes leave in the order of the calls; after End(), Abort() or gone, nothing more is queued
//   - on_gone runs at most once, and never after the answer was handed over whole to the kernel
//   - a stream never holds more than max_unsent_bytes and what UseBudget() gave; a call that would
//     exceed it cuts the client. A budget grows only while the socket takes something
//   - `wake_` is called under the mutex and is empty once the connection is gone, so a handler may
//     keep its Responder for as long as it likes
// Thread-safe.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/http/gate.h"
#include "server/http/message.h"
#include "server/http/responder.h"

namespace rill::server {

class Exchange {
 public:
  struct Options {
    bool http_1_0 = false;
    bool head_only = false;  // HEAD: headers without a body
    bool close = false;      // the connection ends after this answer
    size_t max_unsent_bytes = 256 << 10;
    std::vector<Header> extra_headers;  // of the gate: CORS
    std::function<bool()> draining;     // asked when the head is written
    std::function<void()> wake;         // tells the I/O thread; must not block
  };
  Exchange(std::shared_ptr<HttpRequest> request, Options options);

  const std::shared_ptr<HttpRequest>& request() const { return request_; }

  // Handler's side; see Responder.
  void Send(int status, std::vector<Header> headers, std::string body);
  void StartStream(int status, std::vector<Header> headers);
  void StartStreamAfter(std::chrono::milliseconds wait, int status, std::vector<Header> headers);
  bool HasStartedStream();
  void UseBudget(std::shared_ptr<AnswerBudget::Hold> hold);
  bool Write(std::string_view event);
  void End();
  void Abort();
  void Abandon();  // the handler has let go
  void OnGone(std::function<void()> callback);
  bool gone() const;

  // The connection's side.
  enum class Next : uint8_t { kNothing, kBytes, kEnd, kAbort };
  // kBytes: *out holds what to send next; call Sent() when it is in the kernel.
  Next Take(std::string* out);
  void Sent(size_t bytes);
  void Progress();  // the kernel took some of it
  // No more can be sent: tells the handler.
  void MarkGone();
  // The connection forgets this exchange: no wake-ups from now on.
  void Detach();
  // Something waits to be taken: for a connection that a wake-up did not reach.
  bool HasNext() const;
  bool close_after() const;
  bool overflowed() const;
  // Begins a stream whose time has come; writes an SSE comment when one is idle since `interval`.
  void Tick(std::chrono::steady_clock::time_point now, std::chrono::milliseconds interval);

  int status() const;
  uint64_t body_bytes() const;

 private:
  void Head(int status, std::vector<Header>& headers, const std::string* body);
  void Queue(std::string bytes);  // mutex held
  void Wake();                    // mutex held
  bool WriteLocked(std::string_view event);
  bool MayWait(size_t bytes);  // so many more; mutex held

  const std::shared_ptr<HttpRequest> request_;
  Options options_;
  mutable std::mutex mutex_;
  std::deque<std::string> out_;
  size_t unsent_bytes_ = 0;
  uint64_t body_bytes_ = 0;
  int status_ = 0;
  bool started_ = false, streaming_ = false, event_stream_ = false, chunked_ = false;
  bool ended_ = false, aborted_ = false, gone_ = false, overflowed_ = false;
  bool waking_ = false;     // a wake-up is under way
  bool in_flight_ = false;  // the front was taken and is being sent
  std::chrono::steady_clock::time_point last_write_;
  std::chrono::steady_clock::time_point last_progress_;  // of what is in flight
  std::shared_ptr<AnswerBudget::Hold> hold_;
  std::function<void()> on_gone_;
  struct LateStart {
    std::chrono::steady_clock::time_point when;
    int status = 0;
    std::vector<Header> headers;
  };
  std::optional<LateStart> late_start_;
};

// The handle that a handler holds: its end abandons the exchange.
class ExchangeResponder final : public Responder {
 public:
  explicit ExchangeResponder(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}
  ~ExchangeResponder() override { exchange_->Abandon(); }
  void Send(int status, std::vector<Header> headers, std::string body) override {
    exchange_->Send(status, std::move(headers), std::move(body));
  }
  void StartStream(int status, std::vector<Header> headers) override {
    exchange_->StartStream(status, std::move(headers));
  }
  void StartStreamAfter(std::chrono::milliseconds wait, int status,
                        std::vector<Header> headers) override {
    exchange_->StartStreamAfter(wait, status, std::move(headers));
  }
  bool HasStartedStream() override { return exchange_->HasStartedStream(); }
  void UseBudget(std::shared_ptr<AnswerBudget::Hold> hold) override {
    exchange_->UseBudget(std::move(hold));
  }
  bool Write(std::string event) override { return exchange_->Write(event); }
  void End() override { exchange_->End(); }
  void Abort() override { exchange_->Abort(); }
  void OnGone(std::function<void()> callback) override { exchange_->OnGone(std::move(callback)); }
  bool gone() const override { return exchange_->gone(); }

 private:
  const std::shared_ptr<Exchange> exchange_;
};

// "Sun, 06 Nov 1994 08:49:37 GMT", of now.
std::string HttpDate();

}  // namespace rill::server
