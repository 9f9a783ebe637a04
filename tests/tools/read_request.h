// One request from a buffer by the server's own parsers, without sockets: for tests and fuzzing.
#pragma once

#include <string>
#include <string_view>

#include "server/http/chunk_decoder.h"
#include "server/http/head_parser.h"

namespace rill::server {

struct ReadResult {
  enum class State { kNeedMore, kComplete, kFault } state = State::kNeedMore;
  RequestHead head;
  std::string body;
  size_t consumed = 0;  // when complete
  HttpFault fault;
};

// `step`: bytes given to the parsers at a time, as if they arrived so.
inline ReadResult ReadRequest(std::string_view bytes, size_t step, uint64_t max_body = 1 << 20) {
  ReadResult result;
  const HeadLimits limits;
  HeadScanner scanner(limits);
  HeadScanner::State scanned = HeadScanner::State::kNeedMore;
  size_t given = 0;
  while (scanned == HeadScanner::State::kNeedMore && given < bytes.size()) {
    given = std::min(bytes.size(), given + step);
    scanned = scanner.Scan(bytes.substr(0, given));
  }
  if (scanned == HeadScanner::State::kNeedMore) return result;
  result.state = ReadResult::State::kFault;
  if (scanned == HeadScanner::State::kBad) {
    result.fault = scanner.fault();
    return result;
  }
  const size_t head_bytes = scanner.head_bytes();
  if ((result.fault = ParseHead(bytes.substr(0, head_bytes), limits, &result.head))) return result;
  size_t position = head_bytes;
  if (!result.head.chunked) {
    if (result.head.content_length > max_body) {
      result.fault = {413, "body_too_large", "too large"};
      return result;
    }
    const auto length = static_cast<size_t>(result.head.content_length);
    if (bytes.size() - position < length) {
      result.state = ReadResult::State::kNeedMore;
      return result;
    }
    result.body = bytes.substr(position, length);
    result.consumed = position + length;
    result.state = ReadResult::State::kComplete;
    return result;
  }
  ChunkDecoder decoder(max_body, limits.max_header_fields - result.head.fields.size(),
                       limits.max_head_bytes - head_bytes);
  while (position < bytes.size()) {
    size_t consumed = 0;
    const auto state = decoder.Decode(bytes.substr(position, step), &consumed, &result.body);
    position += consumed;
    if (state == ChunkDecoder::State::kBad) {
      result.fault = decoder.fault();
      return result;
    }
    if (state == ChunkDecoder::State::kComplete) {
      result.consumed = position;
      result.state = ReadResult::State::kComplete;
      return result;
    }
  }
  result.state = ReadResult::State::kNeedMore;
  return result;
}

}  // namespace rill::server
