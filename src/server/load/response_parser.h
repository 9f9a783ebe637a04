// ResponseParser: an HTTP/1.1 response from bytes as they arrive, for our own client. Less strict
// than what a server must be: the other side is one that the user chose. Bounded all the same.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "server/http/chunk_decoder.h"

namespace rill::server {

class ResponseParser {
 public:
  enum class State : uint8_t { kNeedMore, kComplete, kBad };

  // Appends body bytes to `body`. *consumed: how much of `bytes` belongs to this response. Interim
  // responses (1xx) are skipped.
  State Feed(std::string_view bytes, size_t* consumed, std::string* body);
  // The server has closed: completes a response without a length.
  State FeedEof();

  bool head_complete() const { return head_complete_; }
  int status() const { return status_; }
  bool keep_alive() const { return keep_alive_; }
  const std::string& error() const { return error_; }

 private:
  State ParseHead();

  std::string head_;
  bool head_complete_ = false;
  int status_ = 0;
  bool keep_alive_ = true;
  bool until_close_ = false;
  uint64_t left_ = 0;
  std::optional<ChunkDecoder> chunks_;
  std::string error_;
};

}  // namespace rill::server
