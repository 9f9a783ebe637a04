// NoticingSocket: what TLS reads from and writes to, so that its owner hears of the bytes
// themselves. A TLS stream tells of whole records only: of a part of one, which a client may leave
// there for as long as it likes, nothing is seen.
//
// Threads: those of the socket.
#pragma once

#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <type_traits>
#include <utility>

namespace rill::server {

// `Owner` has BytesCame() and BytesWent(size_t), called before the operation's handler.
template <typename Owner>
class NoticingSocket {
 public:
  using Socket = boost::asio::generic::stream_protocol::socket;
  using lowest_layer_type = Socket::lowest_layer_type;
  using executor_type = Socket::executor_type;

  // Both outlive it.
  NoticingSocket(Socket& socket, Owner& owner) : socket_(socket), owner_(owner) {}

  executor_type get_executor() { return socket_.get_executor(); }
  lowest_layer_type& lowest_layer() { return socket_.lowest_layer(); }

  template <typename Buffers, typename Handler>
  void async_read_some(const Buffers& buffers, Handler&& handler) {
    socket_.async_read_some(buffers, Noticed<std::decay_t<Handler>, true>{
                                         socket_, owner_, std::forward<Handler>(handler)});
  }
  template <typename Buffers, typename Handler>
  void async_write_some(const Buffers& buffers, Handler&& handler) {
    socket_.async_write_some(buffers, Noticed<std::decay_t<Handler>, false>{
                                          socket_, owner_, std::forward<Handler>(handler)});
  }

 private:
  // With the memory and the executor of the handler that it stands for.
  template <typename Handler, bool reads>
  struct Noticed {
    using allocator_type = boost::asio::associated_allocator_t<Handler>;
    using executor_type = boost::asio::associated_executor_t<Handler, Socket::executor_type>;

    allocator_type get_allocator() const noexcept {
      return boost::asio::get_associated_allocator(handler);
    }
    executor_type get_executor() const noexcept {
      return boost::asio::get_associated_executor(handler, socket.get_executor());
    }
    void operator()(boost::system::error_code error, size_t bytes) {
      if (bytes > 0) {
        if constexpr (reads) {
          owner.BytesCame();
        } else {
          owner.BytesWent(bytes);
        }
      }
      handler(error, bytes);
    }

    Socket& socket;
    Owner& owner;
    Handler handler;
  };

  Socket& socket_;
  Owner& owner_;
};

}  // namespace rill::server
