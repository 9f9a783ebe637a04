// Any bytes as an HTTP/1.1 request, against Boost.Beast: what we accept, Beast must accept too,
// and end the message at the same byte with the same body. Beast accepts more; that is its affair.
// The first byte says in which portions the bytes arrive: the verdict must not depend on it.
#include <boost/asio/buffer.hpp>
#include <boost/beast/http.hpp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "../tools/read_request.h"
#include "server/http/target.h"

namespace beast = boost::beast;
using rill::server::ReadRequest;
using rill::server::ReadResult;

namespace {

[[noreturn]] void Differs(const char* what) {
  std::fprintf(stderr, "differs: %s\n", what);
  std::abort();
}

void CompareWithBeast(std::string_view bytes, const ReadResult& ours) {
  beast::http::request_parser<beast::http::string_body> parser;
  parser.eager(true);
  parser.body_limit(1 << 20);
  parser.header_limit(1 << 20);
  size_t used = 0;
  while (!parser.is_done()) {
    boost::system::error_code error;
    const size_t put =
        parser.put(boost::asio::const_buffer(bytes.data() + used, bytes.size() - used), error);
    used += put;
    if (error) {
      std::fprintf(stderr, "beast: %s\n", error.message().c_str());
      Differs("we accept what Beast refuses");
    }
    if (put == 0) Differs("we complete what Beast waits for");
  }
  if (used != ours.consumed) Differs("the message ends elsewhere");
  if (parser.get().body() != ours.body) Differs("another body");
  if (parser.keep_alive() != ours.head.keep_alive && ours.head.minor_version == 1) {
    Differs("another keep-alive");
  }
  const auto target = parser.get().target();
  if (std::string_view(target.data(), target.size()).find(ours.head.target) ==
      std::string_view::npos) {
    // In absolute form ours is the path alone; "" becomes "/".
    if (ours.head.target != "/") Differs("another target");
  }
  const auto method = parser.get().method_string();
  if (std::string_view(method.data(), method.size()) != ours.head.method_text) {
    Differs("another method");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const size_t step = data[0] ? data[0] : 1;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const ReadResult whole = ReadRequest(bytes, bytes.size() + 1);
  const ReadResult parts = ReadRequest(bytes, step);
  if (whole.state != parts.state || whole.fault.status != parts.fault.status ||
      whole.consumed != parts.consumed || whole.body != parts.body) {
    Differs("the verdict depends on how bytes arrive");
  }
  if (whole.state == ReadResult::State::kFault &&
      (whole.fault.status < 400 || whole.fault.message.empty())) {
    Differs("a fault without status or message");
  }
  if (whole.state == ReadResult::State::kComplete) {
    CompareWithBeast(bytes, whole);
    auto target = rill::server::ParseTargetPath(whole.head.target);
    if (target.ok() && target->path.find("/../") != std::string::npos) Differs("dot segments");
  }
  return 0;
}
