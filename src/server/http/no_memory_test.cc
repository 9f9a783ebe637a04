// Threat I1: the Nth allocation of an I/O thread fails, for every N of a few requests.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>

#include "base/failing_new.h"
#include "server/http/http_server.h"
#include "server/http/unique_fd.h"

namespace rill::server {
namespace {

using rill::testing::FailAllocations;
using rill::testing::StopFailing;

constexpr int kPatienceMs = 5000;

UniqueFd Connect(int port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const timeval patience = {.tv_sec = kPatienceMs / 1000, .tv_usec = 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  return fd;
}

struct Answer {
  std::string bytes;
  bool hung = false;  // neither an end nor a byte for kPatienceMs
};

// Sends it and reads until the server closes.
Answer Ask(int port, const std::string& bytes) {
  const UniqueFd fd = Connect(port);
  (void)!::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  Answer answer;
  while (true) {
    char part[4096];
    const ssize_t count = ::recv(fd.get(), part, sizeof(part), 0);
    if (count < 0) answer.hung = errno == EAGAIN || errno == EWOULDBLOCK;
    if (count <= 0) return answer;
    answer.bytes.append(part, static_cast<size_t>(count));
  }
}

size_t CountOf(const std::string& what, const std::string& in) {
  size_t count = 0;
  for (size_t at = in.find(what); at != std::string::npos; at = in.find(what, at + 1)) ++count;
  return count;
}

class NoMemoryHttp : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!rill::testing::kAllocationsFail) GTEST_SKIP() << "a sanitizer allocates";
    HttpServerOptions options;
    options.limits.head_timeout = std::chrono::milliseconds(50);
    options.limits.linger = std::chrono::milliseconds(40);  // a tick is 5 ms
    std::vector<Route> routes;
    routes.push_back({.method = Method::kPost,
                      .path = "/echo",
                      .handler = [](std::shared_ptr<const HttpRequest> request,
                                    std::shared_ptr<Responder> responder) {
                        responder->Send(200, {{"content-type", "text/plain"}}, request->body);
                      }});
    routes.push_back(
        {.path = "/stream",
         .handler = [](std::shared_ptr<const HttpRequest>, std::shared_ptr<Responder> responder) {
           responder->StartStream(200, {{"content-type", "text/event-stream"}});
           for (int i = 0; i < 3; ++i) {
             responder->Write("data: " + std::string(100, 'x') + "\n\n");
           }
           responder->End();
         }});
    auto created = HttpServer::Create(std::move(options), std::move(routes));
    ASSERT_TRUE(created.ok()) << created.status().message();
    server_ = std::move(created).value();
    server_->Start();
  }

  // A body, a stream and a request that never ends its head, on three connections.
  void Play(int64_t first) {
    const std::string host = " HTTP/1.1\r\nHost: localhost\r\n";
    const std::string last = "Connection: close\r\n";
    const std::string body(5000, 'b');
    const std::string post = "POST /echo" + host + "Content-Length: 5000\r\n";
    const Answer echo = Ask(server_->port(), post + "\r\n" + body + post + last + "\r\n" + body);
    EXPECT_FALSE(echo.hung) << first;
    if (echo.bytes.ends_with(body)) ++whole_;
    const Answer stream = Ask(server_->port(), "GET /stream" + host + last + "\r\n");
    EXPECT_FALSE(stream.hung) << first;
    if (stream.bytes.ends_with("\r\n0\r\n\r\n")) {
      EXPECT_EQ(CountOf("data: x", stream.bytes), 3) << first;
      ++whole_;
    }
    const Answer slow = Ask(server_->port(), "GET /stream HTT");
    EXPECT_FALSE(slow.hung) << first;
    if (slow.bytes.starts_with("HTTP/1.1 408")) ++whole_;
  }

  void PlayAll(int64_t count) {
    int64_t first = 1, rounds = 0;
    for (;; first += 1 + first / 20, ++rounds) {
      FailAllocations("rill-http", first, count);
      Play(first);
      const int64_t failed = StopFailing();
      // It goes on, and has forgotten nothing of what was lost.
      const int before = whole_;
      Play(first);
      EXPECT_EQ(whole_, before + 3) << first;
      const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatienceMs);
      HttpCounters counters = server_->counters();
      while (counters.connections_now + counters.requests_now > 0 &&
             std::chrono::steady_clock::now() < end) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        counters = server_->counters();
      }
      EXPECT_EQ(counters.connections_now, 0) << first;
      EXPECT_EQ(counters.requests_now, 0) << first;
      if (failed == 0 || HasFailure()) break;
    }
    EXPECT_GT(rounds, 20);
    std::printf("allocations failed: %lld, from 1 to %lld\n", static_cast<long long>(rounds),
                static_cast<long long>(first));
  }

  std::unique_ptr<HttpServer> server_;
  int whole_ = 0;
};

TEST_F(NoMemoryHttp, OneAllocationFails_TheServerGoesOn) {
  PlayAll(1);
}

TEST_F(NoMemoryHttp, TwentyAllocationsFail_TheServerGoesOn) {
  PlayAll(20);
}

}  // namespace
}  // namespace rill::server
