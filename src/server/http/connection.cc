#include "server/http/connection.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include "server/errors.h"
#include "server/http/trace_context.h"

namespace rill::server {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

// Of a refused request, read so that its client, who may still be writing, sees the answer and not
// a reset.
constexpr size_t kMaxLingerBytes = 4 << 20;

HttpFault MakeFault(int status, std::string_view code, std::string message) {
  return {status, std::string(code), std::move(message)};
}

bool IsSaneRequestId(std::string_view id) {
  if (id.empty() || id.size() > 128) return false;
  for (char c : id) {
    const bool ok = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                    c == '-' || c == '_' || c == '.' || c == ':';
    if (!ok) return false;
  }
  return true;
}

// The fields that say whose work this is, for the log and the queue. What is not well-formed, or is
// there twice with two values, counts as absent: no request fails for it.
void ReadContext(const RequestHead& head, HttpRequest& request) {
  int num_traces = 0, num_objectives = 0;
  for (const Header& field : head.fields) {
    if (field.name == "x-request-id" && IsSaneRequestId(field.value)) {
      request.request_id = field.value;
    } else if (field.name == "traceparent") {
      ++num_traces;
      request.trace_id = TraceIdOf(field.value);
    } else if (field.name == "x-llm-d-inference-objective") {
      ++num_objectives;
      request.objective = field.value;
    }
  }
  if (num_traces > 1) request.trace_id.clear();
  if (num_objectives > 1 || request.objective.size() > HttpRequest::kMaxObjectiveBytes) {
    request.objective.clear();
  }
}

}  // namespace

Connection::Connection(std::shared_ptr<ServerCore> core, Socket socket, ListenerTraits listener,
                       Peer peer, std::unique_ptr<ConnectionSlot> slot, size_t io_thread,
                       std::string* scratch)
    : core_(std::move(core)),
      socket_(std::move(socket)),
      listener_(listener),
      peer_(std::move(peer)),
      slot_(std::move(slot)),
      io_thread_(io_thread),
      scratch_(scratch),
      writer_signal_(socket_.get_executor()),
      scanner_({core_->limits().max_request_line_bytes, core_->limits().max_header_fields,
                core_->limits().max_head_bytes}) {}

Connection::~Connection() {
  Close();
}

void Connection::Start() {
  const auto now = Clock::now();
  if (listener_.tls) {
    state_ = State::kHandshake;
    deadline_ = now + core_->limits().tls_handshake_timeout;
    tls_context_ = core_->tls();
    tls_.emplace(NoticingSocket<Connection>(socket_, *this), *tls_context_);
  } else {
    deadline_ = now + core_->limits().keep_alive_timeout;
  }
  error_code ignored;
  socket_.non_blocking(true, ignored);
  MayGo(ConnectionPlaces::Group::kSilent);
  Reader();
}

void Connection::MayGo(ConnectionPlaces::Group group) {
  if (has_entry_) {
    (void)core_->places().Enter(entry_, group);  // not when it is condemned
    return;
  }
  entry_ = core_->places().Add(
      {weak_from_this(), io_thread_, listener_.is_admin, slot_->authenticated()}, group);
  has_entry_ = true;  // not when there was no memory for the entry
}

bool Connection::MayNotGo() {
  if (has_entry_ && !core_->places().Remove(entry_)) return false;
  has_entry_ = false;
  return true;
}

bool Connection::CloseIfNothingCame() {
  error_code error;
  if (state_ == State::kExchange) {
    if (!condemned_ && !IsStuckStranger()) return false;
  } else if (state_ != State::kLinger && socket_.available(error) > 0) {
    return false;
  }
  Close();
  return true;
}

// A record may be a head, a part of it, or (seldom) nothing for us: as soon as its first byte is
// here it counts as a head that has begun.
void Connection::BytesCame() {
  record_started_ = true;
  unread_seen_ = {};
  if (state_ != State::kHead || head_started_) return;
  head_started_ = true;
  idle_deadline_ = deadline_;
  deadline_ = Clock::now() + core_->limits().head_timeout;
  if (has_entry_) (void)core_->places().Enter(entry_, ConnectionPlaces::Group::kSlow);
}

// After a KeyUpdate, say. (Of a record OpenSSL may have just its 5-byte head; then the next byte
// counts again.)
bool Connection::IsNoHead() {
  return tls_ && head_started_ && in_.empty() && SSL_has_pending(tls_->native_handle()) == 0 &&
         BIO_ctrl_pending(SSL_get_rbio(tls_->native_handle())) == 0;
}

void Connection::BytesWent(size_t bytes) {
  write_window_bytes_ += bytes;
  progress_bytes_ += bytes;
}

void Connection::TellCondemned() {
  condemned_ = true;
  try {
    asio::post(socket_.get_executor(), [self = shared_from_this()] {
      try {
        self->LeaveIfCondemned(Clock::now());
      } catch (const std::bad_alloc&) {
        self->Close();  // without the words
      }
    });
  } catch (const std::bad_alloc&) {
    // The next Tick sees it.
  }
}

// Others wait for its place: what comes without end, or an answer that is not taken, does not keep
// it longer than a slow head may.
void Connection::LeaveIfCondemned(Clock::time_point now) {
  if (!condemned_ || state_ == State::kClosed) return;
  if (condemned_at_ == Clock::time_point()) condemned_at_ = now;
  if (state_ != State::kLinger && now - condemned_at_ >= ConnectionPlaces::kSlowGrace) {
    Close();
  } else if (refuses_condemned_) {
    return;
  } else if (state_ == State::kHead && head_started_) {
    error_code error;
    if (socket_.available(error) == 0) RefuseCondemned();
  } else if (state_ != State::kBody) {
    (void)CloseIfNothingCame();
  }
}

bool Connection::IsStuckStranger() const {
  return is_stuck_ && writing_ && !listener_.is_admin && !slot_->authenticated() &&
         core_->gate().has_keys();
}

// Once a second whether the client takes what it is sent; who does not, and has no key, may go, and
// who takes it again may not.
void Connection::LookAtProgress(Clock::time_point now) {
  constexpr size_t kLeast = 1024;
  if (!writing_) {
    is_stuck_ = false;
  } else if (now - progress_start_ >= ConnectionPlaces::kSlowGrace) {
    is_stuck_ = progress_bytes_ < kLeast;
    progress_start_ = now;
    progress_bytes_ = 0;
  }
  if (IsStuckStranger()) {
    if (!has_entry_) MayGo(ConnectionPlaces::Group::kSlow);
  } else if (has_entry_ && !refuses_condemned_ && !MayNotGo()) {
    Close();  // condemned
  }
}

void Connection::RefuseCondemned() {
  Fail(MakeFault(503, "server_overloaded", "too many connections"), {{"Retry-After", "5"}});
}

bool Connection::IsQuiet() {
  error_code error;
  return !head_started_ && in_.empty() && socket_.available(error) == 0;
}

void Connection::WakeWriter() {
  // The writer would find it only when the socket takes bytes again.
  if (writing_ && exchange_ && exchange_->overflowed()) {
    core_->counters().slow_readers_cut.fetch_add(1);
    Close();
    return;
  }
  writer_signal_.cancel();
}

bool Connection::HandshakeDone(error_code error) {
  if (state_ == State::kClosed) return false;
  if (error) {
    core_->counters().tls_failures.fetch_add(1);
    return false;
  }
  state_ = State::kHead;
  deadline_ = Clock::now() + core_->limits().keep_alive_timeout;
  if (has_entry_ && !core_->places().Enter(entry_, ConnectionPlaces::Group::kSilent)) return false;
  // What came with the handshake's last message.
  if (BIO_ctrl_pending(SSL_get_rbio(tls_->native_handle())) > 0) BytesCame();
  return true;
}

Task Connection::Reader() {
  auto self = shared_from_this();
  const CloseAtEnd close_at_end{*this};
  if (tls_) {
    const auto [error, ignored] = co_await Await(reader_memory_, [&](OperationHandler handler) {
      tls_->async_handshake(asio::ssl::stream_base::server, std::move(handler));
    });
    if (!HandshakeDone(error)) co_return;
  }
  Writer();
  std::string tls_buffer;
  if (tls_) tls_buffer.resize(16 << 10);
  while (state_ != State::kClosed) {
    if (state_ == State::kExchange && in_.size() >= core_->limits().max_pipelined_bytes) {
      // Enough read ahead: only a reset is noticed until the answer is out.
      reading_paused_ = true;
      const auto [error, ignored] = co_await Await(reader_memory_, [&](OperationHandler handler) {
        socket_.async_wait(Socket::wait_error, std::move(handler));
      });
      reading_paused_ = false;
      if (state_ == State::kClosed) break;
      if (!error) {
        OnPeerGone();
        break;
      }
      continue;
    }
    size_t count = 0;
    error_code error;
    // What is dropped need not be deciphered.
    const bool decrypts = tls_ && state_ != State::kLinger;
    if (decrypts) {
      const auto read = co_await Await(reader_memory_, [&](OperationHandler handler) {
        tls_->async_read_some(asio::buffer(tls_buffer), std::move(handler));
      });
      error = read.error;
      count = read.bytes;
      record_started_ = BIO_ctrl_pending(SSL_get_rbio(tls_->native_handle())) > 0;
    } else {
      // Without a buffer of its own an idle connection costs little memory.
      const auto waited = co_await Await(reader_memory_, [&](OperationHandler handler) {
        socket_.async_wait(Socket::wait_read, std::move(handler));
      });
      error = waited.error;
      if (!error && state_ != State::kClosed) {
        count = socket_.read_some(asio::buffer(*scratch_), error);
        if (error == asio::error::would_block || error == asio::error::try_again) continue;
      }
    }
    if (state_ == State::kClosed) break;
    if (error) {
      if (error == asio::error::operation_aborted) continue;
      if (decrypts && state_ == State::kLinger) continue;  // the end of TLS, not of the connection
      OnPeerGone();
      break;
    }
    core_->counters().bytes_in.fetch_add(count, std::memory_order_relaxed);
    if (state_ == State::kLinger) {
      linger_bytes_ += count;
      if (linger_bytes_ > kMaxLingerBytes) Close();
      continue;
    }
    body_window_bytes_ += count;
    in_.append(tls_ ? tls_buffer.data() : scratch_->data(), count);
    Process();
  }
}

Task Connection::Writer() {
  auto self = shared_from_this();
  const CloseAtEnd close_at_end{*this};
  std::string piece;
  while (state_ != State::kClosed) {
    bool of_exchange = false;
    if (!raw_out_.empty()) {
      piece = std::move(raw_out_);
      raw_out_.clear();
    } else {
      const Exchange::Next next = exchange_ ? exchange_->Take(&piece) : Exchange::Next::kNothing;
      if (next == Exchange::Next::kEnd) {
        FinishExchange();
        continue;
      }
      if (next == Exchange::Next::kAbort) {
        if (exchange_->overflowed()) core_->counters().slow_readers_cut.fetch_add(1);
        Close();
        break;
      }
      if (next == Exchange::Next::kNothing) {
        writer_signal_.expires_at(Clock::time_point::max());
        co_await Await(writer_memory_, [&](OperationHandler handler) {
          writer_signal_.async_wait(std::move(handler));
        });
        continue;
      }
      of_exchange = true;
    }
    writing_ = true;
    write_window_start_ = Clock::now();
    write_window_bytes_ = 0;
    progress_start_ = write_window_start_;
    progress_bytes_ = 0;
    is_stuck_ = false;
    size_t done = 0;
    error_code error;
    while (done < piece.size() && !error && state_ != State::kClosed) {
      const asio::const_buffer rest = asio::buffer(piece) + done;
      size_t count = 0;
      if (tls_) {
        const auto written = co_await Await(writer_memory_, [&](OperationHandler handler) {
          tls_->async_write_some(rest, std::move(handler));
        });
        error = written.error;
        count = written.bytes;
      } else {
        count = socket_.write_some(rest, error);
        if (error == asio::error::would_block || error == asio::error::try_again) {
          const auto waited = co_await Await(writer_memory_, [&](OperationHandler handler) {
            socket_.async_wait(Socket::wait_write, std::move(handler));
          });
          error = waited.error;
          if (error == asio::error::operation_aborted) error = {};
          continue;
        }
      }
      done += count;
      if (!tls_) BytesWent(count);  // of TLS the records are counted, as they go
      if (of_exchange && exchange_ && count > 0 && done < piece.size()) exchange_->Progress();
      core_->counters().bytes_out.fetch_add(count, std::memory_order_relaxed);
    }
    writing_ = false;
    if (state_ == State::kClosed) break;
    if (error) {
      OnPeerGone();
      break;
    }
    if (of_exchange && exchange_) exchange_->Sent(piece.size());
  }
}

void Connection::Process() {
  while (true) {
    switch (state_) {
      case State::kHead: {
        if (in_.empty()) return;
        const bool begins = !head_started_;
        if (begins) {
          head_started_ = true;
          deadline_ = Clock::now() + core_->limits().head_timeout;
        }
        const HeadScanner::State scanned = scanner_.Scan(in_);
        if (scanned == HeadScanner::State::kNeedMore) {
          if (!begins) return;
          if (!has_entry_) {
            MayGo(ConnectionPlaces::Group::kSlow);
          } else if (!core_->places().Enter(entry_, ConnectionPlaces::Group::kSlow)) {
            RefuseCondemned();
          }
          return;
        }
        if (scanned == HeadScanner::State::kBad) {
          core_->counters().malformed.fetch_add(1);
          Fail(scanner_.fault());
          return;
        }
        const size_t head_bytes = scanner_.head_bytes();
        const bool go_on = BeginRequest(std::string_view(in_).substr(0, head_bytes));
        in_.erase(0, head_bytes);
        scanner_.Reset();
        head_started_ = false;
        if (!go_on) return;  // answered already; the next request waits for the answer's end
        break;
      }
      case State::kBody:
        if (!FeedBody()) return;
        Dispatch();
        break;
      default: return;
    }
  }
}

Exchange::Options Connection::ExchangeOptions(bool close) {
  Exchange::Options options;
  options.http_1_0 = head_.minor_version == 0;
  options.close = close;
  options.max_unsent_bytes = core_->limits().max_unsent_bytes;
  options.draining = [core = core_] { return core->gate().draining(); };
  options.wake = [weak = weak_from_this(), executor = socket_.get_executor()] {
    asio::post(executor, [weak] {
      if (auto self = weak.lock()) self->WakeWriter();
    });
  };
  return options;
}

bool Connection::BeginRequest(std::string_view head_bytes) {
  const bool is_condemned = !MayNotGo();
  const auto now = Clock::now();
  const HttpLimits& limits = core_->limits();
  const HeadLimits head_limits{limits.max_request_line_bytes, limits.max_header_fields,
                               limits.max_head_bytes};
  ++requests_;
  core_->counters().requests.fetch_add(1);
  request_ = std::make_shared<CountedRequest>(core_);
  request_->received = now;
  request_->peer = peer_.text;
  if (HttpFault fault = ParseHead(head_bytes, head_limits, &head_)) {
    core_->counters().malformed.fetch_add(1);
    Fail(fault);
    return false;
  }
  request_->method = head_.method;
  request_->method_text = head_.method_text;
  if (is_condemned) {
    RefuseCondemned();
    return false;
  }
  ReadContext(head_, *request_);
  if (request_->request_id.empty()) request_->request_id = NewRequestId();

  verdict_ = core_->gate().Judge(head_, listener_, {peer_.address, peer_.is_local}, now);
  if (verdict_.fault.status == 401) core_->counters().auth_failures.fetch_add(1);
  if (verdict_.fault.status == 429 && verdict_.fault.code == "too_many_wrong_keys") {
    core_->counters().auth_throttled.fetch_add(1);
  }
  if (verdict_.fault.code == "draining") core_->counters().refused_draining.fetch_add(1);
  if (verdict_.authenticated) slot_->Authenticated();
  if (verdict_.key_use) {
    request_->tenant = verdict_.key_use->key().name;
    request_->weight = verdict_.key_use->key().weight;
  }
  if (verdict_.fault) {
    Fail(verdict_.fault, std::move(verdict_.headers));
    return false;
  }
  request_->is_admin = verdict_.is_admin;
  request_->path = std::move(verdict_.target.path);
  request_->query = std::move(verdict_.target.query);
  request_->params = std::move(verdict_.params);
  core_->RequestBegins();
  request_counted_ = true;

  state_ = State::kBody;
  body_window_start_ = now;
  body_window_bytes_ = 0;
  decoder_.reset();
  body_left_ = head_.content_length;
  if (head_.chunked) {
    const size_t head_size = head_bytes.size();
    decoder_.emplace(verdict_.max_body, limits.max_header_fields - head_.fields.size(),
                     limits.max_head_bytes - std::min(limits.max_head_bytes, head_size));
  }
  if (head_.expect_continue && (head_.chunked || body_left_ > 0) &&
      in_.size() == head_bytes.size()) {
    raw_out_ = "HTTP/1.1 100 Continue\r\n\r\n";
    WakeWriter();
  }
  return true;
}

bool Connection::FeedBody() {
  const size_t before = request_->body.size();
  bool complete = false;
  if (decoder_) {
    if (in_.empty()) return false;
    size_t consumed = 0;
    const ChunkDecoder::State decoded = decoder_->Decode(in_, &consumed, &request_->body);
    in_.erase(0, consumed);
    if (decoded == ChunkDecoder::State::kBad) {
      if (decoder_->fault().status == 400) core_->counters().malformed.fetch_add(1);
      Fail(decoder_->fault());
      return false;
    }
    complete = decoded == ChunkDecoder::State::kComplete;
  } else {
    const size_t take = static_cast<size_t>(std::min<uint64_t>(body_left_, in_.size()));
    request_->body.append(in_, 0, take);
    in_.erase(0, take);
    body_left_ -= take;
    complete = body_left_ == 0;
  }
  const size_t added = request_->body.size() - before;
  if (!core_->bodies().Reserve(request_->tenant, request_->reserved, added)) {
    Fail(MakeFault(503, "server_overloaded", "too many large requests at once"),
         {{"Retry-After", "5"}});
    return false;
  }
  request_->reserved += added;
  return complete;
}

void Connection::Dispatch() {
  state_ = State::kExchange;
  request_->headers = std::move(head_.fields);
  const bool close = !head_.keep_alive || requests_ >= core_->limits().max_requests_per_connection;
  Exchange::Options options = ExchangeOptions(close);
  options.head_only = head_.method == Method::kHead;
  options.extra_headers = std::move(verdict_.headers);
  exchange_ = std::make_shared<Exchange>(request_, std::move(options));
  auto responder = std::make_shared<ExchangeResponder>(exchange_);
  try {
    verdict_.route->handler(request_, responder);
  } catch (const std::exception& error) {
    // A defect of the handler ends its request, not the server. The responder's end answers 500.
    core_->Warn(std::string("handler of ") + verdict_.route->path + " threw: " + error.what());
  }
}

void Connection::Fail(const HttpFault& fault, std::vector<Header> headers) {
  if (!MayNotGo()) {
    refuses_condemned_ = true;
    condemned_ = true;  // TellCondemned may be on its way
  }
  // After a framing fault nothing that follows can be trusted; after a refusal, a body that was
  // announced is not read. Otherwise the connection may go on.
  const bool in_head = state_ == State::kHead;
  const bool framing_ok = in_head && request_ != nullptr && verdict_.fault.status == fault.status &&
                          verdict_.fault.code == fault.code;
  const bool has_body = head_.chunked || head_.content_length > 0;
  const bool close = !framing_ok || has_body || !head_.keep_alive || fault.status == 503 ||
                     requests_ >= core_->limits().max_requests_per_connection;
  if (!request_) {
    request_ = std::make_shared<CountedRequest>(core_);
    request_->received = Clock::now();
    request_->peer = peer_.text;
    head_ = RequestHead();
  }
  if (request_->request_id.empty()) request_->request_id = NewRequestId();
  state_ = State::kExchange;
  if (!request_counted_) {
    core_->RequestBegins();
    request_counted_ = true;
  }
  Exchange::Options options = ExchangeOptions(close);
  options.head_only = head_.method == Method::kHead;
  exchange_ = std::make_shared<Exchange>(request_, std::move(options));
  std::string body;
  if (fault.status != 204) {
    body = core_->ErrorBody(fault);
    headers.push_back({"Content-Type", "application/json"});
  }
  exchange_->Send(fault.status, std::move(headers), std::move(body));
}

void Connection::EndRequest(bool complete) noexcept {
  if (!exchange_ && !request_counted_) {
    // Memory ran out between the key's count and the request's.
    if (verdict_.key_use) verdict_.key_use->Release();
    verdict_ = Verdict();
    return;
  }
  const int status = exchange_ ? exchange_->status() : 0;
  if (status >= 100 && status < 600) {
    core_->counters().responses_by_class[status / 100].fetch_add(1);
  }
  try {
    TellEnd(status, complete);
  } catch (const std::bad_alloc&) {
    // Its line in the log is lost; what it held is not.
  }
  if (exchange_) exchange_->Detach();
  exchange_.reset();
  request_.reset();
  if (verdict_.key_use) verdict_.key_use->Release();
  verdict_ = Verdict();
  if (request_counted_) core_->RequestEnds();
  request_counted_ = false;
}

void Connection::TellEnd(int status, bool complete) {
  if (!core_->options().on_request_end || !request_) return;
  HttpServerOptions::AccessRecord record;
  record.request_id = request_->request_id;
  record.method = request_->method_text;
  if (verdict_.route) record.route = verdict_.route->path;
  record.peer = peer_.text;
  record.tenant = request_->tenant;
  record.trace_id = request_->trace_id;
  record.objective = request_->objective;
  record.status = status;
  record.complete = complete;
  record.body_bytes_in = request_->body.size();
  record.body_bytes_out = exchange_ ? exchange_->body_bytes() : 0;
  record.received = request_->received;
  record.ended = Clock::now();
  core_->options().on_request_end(record);
}

void Connection::FinishExchange() {
  const bool close = exchange_->close_after();
  EndRequest(true);
  if (close) {
    BeginLinger();
    return;
  }
  state_ = State::kHead;
  head_started_ = false;
  deadline_ = Clock::now() + core_->limits().keep_alive_timeout;
  if (in_.empty()) {
    if (in_.capacity() > 4096) std::string().swap(in_);
    MayGo(ConnectionPlaces::Group::kIdle);
    if (record_started_) BytesCame();  // during the answer
  }
  if (core_->closing_idle && IsQuiet()) {
    Close();
    return;
  }
  if (reading_paused_) {
    error_code ignored;
    socket_.cancel(ignored);  // the reader reads again
  }
  Process();
}

// The answer is out. Closing now would reset the connection if the client has sent more than we
// read, and the reset may overtake the answer: so only our direction is closed, and what still
// comes is read and dropped until the client closes too, or for `linger`.
void Connection::BeginLinger() {
  state_ = State::kLinger;
  in_.clear();
  in_.shrink_to_fit();
  MayGo(ConnectionPlaces::Group::kSlow);
  deadline_ = Clock::now() + core_->limits().linger;
  // Others wait for its place.
  if (condemned_) deadline_ = std::min(deadline_, Clock::now() + std::chrono::milliseconds(500));
  error_code ignored;
  if (reading_paused_) socket_.cancel(ignored);  // the reader reads again
  if (tls_) {
    // close_notify tells the client that the answer was whole. OpenSSL would then wait for the
    // client's and fail on what the client still writes: it is told that it has come.
    SSL_set_shutdown(tls_->native_handle(), SSL_RECEIVED_SHUTDOWN);
    tls_->async_shutdown([self = shared_from_this()](error_code) {
      error_code ignored;
      if (self->state_ == State::kLinger) self->socket_.shutdown(Socket::shutdown_send, ignored);
    });
    return;
  }
  socket_.shutdown(Socket::shutdown_send, ignored);
}

void Connection::OnPeerGone() {
  Close();
}

void Connection::Close() noexcept {
  if (state_ == State::kClosed) return;
  const bool in_request = state_ == State::kBody || state_ == State::kExchange;
  state_ = State::kClosed;
  error_code ignored;
  socket_.close(ignored);
  writer_signal_.cancel();
  slot_->Release(std::exchange(has_entry_, false) ? &entry_ : nullptr);
  if (in_request) {
    core_->counters().clients_gone.fetch_add(1);
    try {
      if (exchange_) exchange_->MarkGone();
    } catch (const std::bad_alloc&) {
      // Who was to be told of it finds out by its next write.
    }
  }
  EndRequest(false);
}

void Connection::Tick(Clock::time_point now) {
  LeaveIfCondemned(now);
  const HttpLimits& limits = core_->limits();
  switch (state_) {
    case State::kHandshake:
      if (now >= deadline_) {
        core_->counters().tls_failures.fetch_add(1);
        Close();
      }
      break;
    case State::kHead:
      if (core_->closing_idle && IsQuiet()) {
        Close();
      } else if (now >= deadline_) {
        if (IsQuiet()) {
          Close();
        } else if (IsNoHead()) {
          head_started_ = false;
          deadline_ = idle_deadline_;
          MayGo(ConnectionPlaces::Group::kIdle);
        } else if (head_started_) {
          core_->counters().head_timeouts.fetch_add(1);
          request_.reset();
          Fail(MakeFault(408, "request_timeout", "the head did not arrive in time"));
        } else if (tls_) {
          // What has come is not read: TLS is still to send something that the client does not
          // take. Counted from here: after a pause of the process it is read in a moment.
          if (unread_seen_ == Clock::time_point()) unread_seen_ = now;
          if (now - unread_seen_ >= limits.head_timeout) {
            core_->counters().head_timeouts.fetch_add(1);
            Close();
          }
        }
      }
      break;
    case State::kBody:
      if (now - body_window_start_ >= limits.body_window) {
        if (body_window_bytes_ < limits.body_min_bytes_per_window) {
          core_->counters().body_timeouts.fetch_add(1);
          Fail(MakeFault(408, "request_timeout", "the body did not arrive in time"));
        } else {
          body_window_start_ = now;
          body_window_bytes_ = 0;
        }
      }
      break;
    case State::kExchange:
      if (writing_ && now - write_window_start_ >= limits.write_stall) {
        if (write_window_bytes_ < 1024) {
          core_->counters().slow_readers_cut.fetch_add(1);
          Close();
          break;
        }
        write_window_start_ = now;
        write_window_bytes_ = 0;
      }
      LookAtProgress(now);
      if (state_ == State::kClosed) break;
      if (exchange_) exchange_->Tick(now, limits.ping_interval);
      if (exchange_ && !writing_ && exchange_->HasNext()) WakeWriter();
      break;
    case State::kLinger:
      if (now >= deadline_) Close();
      break;
    case State::kClosed: break;
  }
}

}  // namespace rill::server
