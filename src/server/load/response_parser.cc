#include "server/load/response_parser.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "base/utf8.h"

namespace rill::server {

namespace {
constexpr size_t kMaxHeadBytes = 64 << 10;
}

ResponseParser::State ResponseParser::ParseHead() {
  auto bad = [&](std::string text) {
    error_ = std::move(text);
    return State::kBad;
  };
  std::string_view head = head_;
  const size_t first = head.find("\r\n");
  const std::string_view line = head.substr(0, first);
  if (line.size() < 12 || line.substr(0, 7) != "HTTP/1." ||
      std::from_chars(line.data() + 9, line.data() + 12, status_).ec != std::errc()) {
    return bad("not an HTTP/1 response: '" + PrintableUtf8(line, 40) + "'");
  }
  keep_alive_ = line[7] == '1';
  until_close_ = true;
  head.remove_prefix(first + 2);
  while (head.substr(0, 2) != "\r\n") {
    const size_t end = head.find("\r\n");
    Header field;
    if (HttpFault fault = ParseFieldLine(head.substr(0, end), &field)) return bad(fault.message);
    head.remove_prefix(end + 2);
    if (field.name == "content-length") {
      const auto [stop, error] =
          std::from_chars(field.value.data(), field.value.data() + field.value.size(), left_);
      if (error != std::errc() || stop != field.value.data() + field.value.size()) {
        return bad("malformed Content-Length");
      }
      until_close_ = false;
    } else if (field.name == "transfer-encoding") {
      if (!EqualsNoCase(field.value, "chunked")) return bad("unknown Transfer-Encoding");
      chunks_.emplace(std::numeric_limits<uint64_t>::max(), 100, kMaxHeadBytes);
    } else if (field.name == "connection" && EqualsNoCase(field.value, "close")) {
      keep_alive_ = false;
    }
  }
  // Without a body, whatever its fields say (RFC 9112, 6.3).
  const bool is_empty = status_ < 200 || status_ == 204 || status_ == 304;
  if (is_empty) {
    chunks_.reset();
    left_ = 0;
  }
  if (chunks_ || is_empty) until_close_ = false;
  if (until_close_) keep_alive_ = false;
  head_complete_ = true;
  return State::kNeedMore;
}

ResponseParser::State ResponseParser::Feed(std::string_view bytes, size_t* consumed,
                                           std::string* body) {
  *consumed = 0;
  while (!head_complete_) {
    // The end of the head may lie across two reads.
    const size_t before = head_.size();
    head_ += bytes;
    const size_t end = head_.find("\r\n\r\n", before < 3 ? 0 : before - 3);
    if (end == std::string::npos) {
      *consumed += bytes.size();
      if (head_.size() <= kMaxHeadBytes) return State::kNeedMore;
      error_ = "the response's head is too large";
      return State::kBad;
    }
    head_.resize(end + 4);
    const size_t used = head_.size() - before;
    bytes.remove_prefix(used);
    *consumed += used;
    if (ParseHead() == State::kBad) return State::kBad;
    if (status_ < 200) {
      head_.clear();
      head_complete_ = false;
      if (bytes.empty()) return State::kNeedMore;
    }
  }
  if (chunks_) {
    size_t used = 0;
    const ChunkDecoder::State state = chunks_->Decode(bytes, &used, body);
    *consumed += used;
    if (state == ChunkDecoder::State::kBad) {
      error_ = chunks_->fault().message;
      return State::kBad;
    }
    return state == ChunkDecoder::State::kComplete ? State::kComplete : State::kNeedMore;
  }
  if (until_close_) {
    body->append(bytes);
    *consumed += bytes.size();
    return State::kNeedMore;
  }
  const size_t take = static_cast<size_t>(std::min<uint64_t>(left_, bytes.size()));
  body->append(bytes.substr(0, take));
  *consumed += take;
  left_ -= take;
  return left_ == 0 ? State::kComplete : State::kNeedMore;
}

ResponseParser::State ResponseParser::FeedEof() {
  if (head_complete_ && until_close_) return State::kComplete;
  error_ = head_.empty() ? "the server closed the connection without an answer"
                         : "the answer ends before its end";
  return State::kBad;
}

}  // namespace rill::server
