// Any bytes as server-sent events and as an HTTP response, by the load test's client. The first
// byte says in which portions they arrive: what comes out must not depend on it.
#include <cstdint>
#include <cstdlib>

#include "server/load/response_parser.h"
#include "server/load/sse_parser.h"

using rill::server::ResponseParser;
using rill::server::SseParser;

namespace {

// Events of `bytes` fed `step` at a time; false once the parser refused.
bool Events(std::string_view bytes, size_t step, std::vector<std::string>* events) {
  SseParser parser(1000);
  for (size_t i = 0; i < bytes.size(); i += step) {
    if (!parser.Feed(bytes.substr(i, step), events)) return false;
  }
  return true;
}

ResponseParser::State Response(std::string_view bytes, size_t step, std::string* body) {
  ResponseParser parser;
  auto state = ResponseParser::State::kNeedMore;
  for (size_t i = 0; i < bytes.size() && state == ResponseParser::State::kNeedMore;) {
    size_t consumed = 0;
    state = parser.Feed(bytes.substr(i, step), &consumed, body);
    if (consumed == 0 && state == ResponseParser::State::kNeedMore) std::abort();
    i += consumed;
  }
  return state;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const size_t step = data[0] ? data[0] : 1;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::vector<std::string> whole, parts;
  // A refusal comes at the first portion over the limit, so only what both accept is compared.
  if (Events(bytes, bytes.size() + 1, &whole) && Events(bytes, step, &parts) && whole != parts) {
    std::abort();
  }
  std::string whole_body, parts_body;
  const auto first = Response(bytes, bytes.size() + 1, &whole_body);
  if (Response(bytes, step, &parts_body) != first) std::abort();
  if (first != ResponseParser::State::kBad && whole_body != parts_body) std::abort();
  return 0;
}
