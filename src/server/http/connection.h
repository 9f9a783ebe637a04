// Connection: one client's socket. Reads requests, hands them to handlers, writes the answers.
//
// Owner: one I/O thread; every method runs there, but those that say otherwise. Two coroutines:
//   Reader  is armed from the first byte to the last, also while an answer is under way: that is
//           how a client that left is noticed. What it reads then is the next request (pipelining),
//           kept until the answer is out; beyond max_pipelined_bytes it only watches for errors.
//   Writer  sends what the exchange queues, one queued piece after the other.
// Timeouts are looked at by Tick(), which the I/O thread calls for every connection at a fixed
// pace.
//
// States: kHead (waiting for or reading a head) → kBody → kExchange (handler and answer) → kHead …
// → kLinger (answered, closing: reads and drops) → kClosed. One request at a time.
#pragma once

#include <atomic>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>
#include <string>

#include "server/http/chunk_decoder.h"
#include "server/http/exchange.h"
#include "server/http/gate.h"
#include "server/http/head_parser.h"
#include "server/http/noticing_socket.h"
#include "server/http/server_core.h"
#include "server/http/task.h"

namespace rill::server {

class Connection final : public std::enable_shared_from_this<Connection>,
                         public ConnectionPlaces::Holder {
 public:
  using Socket = boost::asio::generic::stream_protocol::socket;
  using Clock = std::chrono::steady_clock;

  struct Peer {
    std::string text;       // for logs, with port
    std::string address;    // key of PeerTable
    bool is_local = false;  // on loopback or a Unix socket
  };

  // `scratch` is the read buffer of I/O thread `io_thread`, shared by its connections.
  Connection(std::shared_ptr<ServerCore> core, Socket socket, ListenerTraits listener, Peer peer,
             std::unique_ptr<ConnectionSlot> slot, size_t io_thread, std::string* scratch);
  ~Connection();

  void Start();
  // At a fixed pace: deadlines and pings.
  void Tick(Clock::time_point now);
  // Drops the connection at once; a handler that waits is told.
  void Close() noexcept;
  bool closed() const { return state_ == State::kClosed; }
  // While the connection is in one of the groups of ConnectionPlaces.
  bool CloseIfNothingCame() override;
  void TellCondemned() override;
  // Of its TLS stream's records.
  void BytesCame();
  void BytesWent(size_t bytes);

 private:
  enum class State : uint8_t { kHandshake, kHead, kBody, kExchange, kLinger, kClosed };

  // Its body counts for as long as somebody has it: a handler may, after its client has left.
  struct CountedRequest final : HttpRequest {
    explicit CountedRequest(std::shared_ptr<ServerCore> its_core) : core(std::move(its_core)) {}
    ~CountedRequest() { core->bodies().Release(tenant, reserved); }
    CountedRequest(const CountedRequest&) = delete;
    CountedRequest& operator=(const CountedRequest&) = delete;
    const std::shared_ptr<ServerCore> core;
    size_t reserved =
        0;  // bytes of the body, for `tenant`, which does not change once there are any
  };

  // Closes the connection when one of its coroutines is over, however it came to that: for one, by
  // memory that ran out in it.
  struct CloseAtEnd {
    Connection& connection;
    ~CloseAtEnd() { connection.Close(); }
  };

  Task Reader();
  Task Writer();
  bool HandshakeDone(boost::system::error_code error);

  void Process();  // takes in_ as far as the state allows
  bool BeginRequest(std::string_view head);
  bool FeedBody();  // true when the body is complete
  void Dispatch();
  void Fail(const HttpFault& fault, std::vector<Header> headers = {});
  void FinishExchange();
  void BeginLinger();
  void OnPeerGone();
  // Nothing of a next request has come. Bytes that the kernel has and nobody has read yet count: to
  // close over them would reset the connection and lose a request that was sent in time.
  bool IsQuiet();
  void EndRequest(bool complete) noexcept;
  void TellEnd(int status, bool complete);  // the access record
  void MayGo(ConnectionPlaces::Group group);
  // False when it is condemned.
  bool MayNotGo();
  // A client without a key, where others have one, that does not take its answer.
  bool IsStuckStranger() const;
  void LookAtProgress(Clock::time_point now);
  // TLS has less than a record, and nothing of it is for us.
  bool IsNoHead();
  void LeaveIfCondemned(Clock::time_point now);
  void RefuseCondemned();
  void WakeWriter();
  Exchange::Options ExchangeOptions(bool close);

  const std::shared_ptr<ServerCore> core_;
  Socket socket_;
  const ListenerTraits listener_;
  const Peer peer_;
  const std::unique_ptr<ConnectionSlot> slot_;
  const size_t io_thread_;
  std::string* const scratch_;
  std::optional<boost::asio::ssl::stream<NoticingSocket<Connection>>> tls_;
  std::shared_ptr<boost::asio::ssl::context> tls_context_;
  boost::asio::steady_timer writer_signal_;
  OperationMemory reader_memory_, writer_memory_;

  State state_ = State::kHead;
  std::string in_;
  HeadScanner scanner_;
  RequestHead head_;
  Verdict verdict_;
  std::shared_ptr<CountedRequest> request_;
  std::optional<ChunkDecoder> decoder_;
  uint64_t body_left_ = 0;
  std::shared_ptr<Exchange> exchange_;
  bool request_counted_ = false;
  std::string raw_out_;  // "100 Continue", before any exchange
  int requests_ = 0;
  bool reading_paused_ = false;
  bool has_entry_ = false;
  ConnectionPlaces::Handle entry_;
  std::atomic<bool> condemned_{false};   // told by another thread
  Clock::time_point condemned_at_ = {};  // when its own thread saw it
  bool refuses_condemned_ = false;       // its request has an answer, by which it closes

  Clock::time_point deadline_;       // of kHandshake, kHead and kLinger
  Clock::time_point idle_deadline_;  // what it was before the head began
  Clock::time_point unread_seen_ = {};
  bool head_started_ = false;    // over TLS: something of its record has come
  bool record_started_ = false;  // of TLS: more has come than was read
  Clock::time_point body_window_start_;
  size_t body_window_bytes_ = 0;
  bool writing_ = false;
  Clock::time_point write_window_start_;
  size_t write_window_bytes_ = 0;
  // Of the piece that is written, in the last second.
  Clock::time_point progress_start_;
  size_t progress_bytes_ = 0;
  bool is_stuck_ = false;
  size_t linger_bytes_ = 0;
};

}  // namespace rill::server
