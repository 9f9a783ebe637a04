// Responder: how a handler answers one request.
//
// Threads: every method may be called from any thread and none of them blocks; bytes go out on the
// connection's I/O thread. Exactly one answer: either Send(), or StartStream(), Write()…, End().
// A second Send() or StartStream() is ignored. A handler that lets its last reference go without an
// answer gives 500 (or, in a stream, a dropped connection), so no client waits for ever.
//
// The transport adds Content-Length or Transfer-Encoding, Connection, Date, X-Request-Id,
// Openai-Processing-Ms, X-Content-Type-Options and the CORS fields: give none of these. Control
// characters in values are replaced, so a value can never split the response.
// To a stream of text/event-stream it adds ": ping" comments after 15 s without output.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/answer_budget.h"
#include "server/http/message.h"

namespace rill::server {

class Responder {
 public:
  virtual ~Responder() = default;

  // The whole answer. `body` may be of any size: the limit on unsent bytes is for streams.
  virtual void Send(int status, std::vector<Header> headers, std::string body) = 0;

  // Status line and headers now, the body by Write(). To an HTTP/1.0 client the body is not chunked
  // and ends with the connection.
  virtual void StartStream(int status, std::vector<Header> headers) = 0;

  // StartStream() and a comment (": queued"), unless an answer has begun by then: for a request
  // that waits. Looked at as often as the transport looks at its timeouts. The handler still calls
  // StartStream() with its first event.
  virtual void StartStreamAfter(std::chrono::milliseconds wait, int status,
                                std::vector<Header> headers) = 0;
  // Whether the head of a stream is out. Ends what StartStreamAfter() began: it will not go out
  // later than this.
  virtual bool HasStartedStream() = 0;

  // What `hold` has, and can take, of the answers' budget may wait for the client beyond
  // max_unsent_bytes while its socket takes something: a burst larger than that limit (a prompt
  // that n choices echo) is written in one go, before the I/O thread has sent any of it.
  virtual void UseBudget(std::shared_ptr<AnswerBudget::Hold> hold) = 0;

  // One event = one write = one HTTP chunk. False when the client is gone or was cut because more
  // than HttpLimits::max_unsent_bytes wait for it (see UseBudget): stop, nobody reads.
  virtual bool Write(std::string event) = 0;

  // Ends the stream's body; the connection may serve another request.
  virtual void End() = 0;

  // Drops the connection without ending the answer: the client sees that it is incomplete.
  virtual void Abort() = 0;

  // `callback` runs at most once, when the client disconnects or is cut before the answer's end,
  // at once when that has happened already; never after the end. It runs on the I/O thread (or the
  // caller's): it must not block. Setting a second one replaces the first.
  virtual void OnGone(std::function<void()> callback) = 0;

  // The client cannot receive any more of this answer.
  virtual bool gone() const = 0;
};

}  // namespace rill::server
