// Decodes Transfer-Encoding: chunked (RFC 9112, 7.1) byte by byte, in bounded memory.
//
//   chunk-size  1 to 16 hexadecimal digits, nothing before or after
//   extension   ";" token [ "=" ( token | quoted-string ) ], no white space; at most
//               kMaxExtensionBytes a chunk and kMaxAllExtensionBytes a body: they carry nothing
//   trailers    checked like header fields, counted with the head's limits, and discarded: a field
//               that arrives after the request was judged must not change it. Those that speak of
//               framing, routing or the connection are refused.
// A bare CR or LF is refused everywhere. Belongs to one connection; no threads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "server/http/head_parser.h"

namespace rill::server {

class ChunkDecoder {
 public:
  static constexpr size_t kMaxExtensionBytes = 256;
  static constexpr size_t kMaxAllExtensionBytes = 16 << 10;

  // At most `max_body` decoded bytes; trailers within `max_trailer_fields` and
  // `max_trailer_bytes` (what the head left of its limits).
  ChunkDecoder(uint64_t max_body, size_t max_trailer_fields, size_t max_trailer_bytes);

  enum class State : uint8_t { kNeedMore, kComplete, kBad };

  // Appends decoded bytes to `body`; *consumed says how much of `input` belongs to this body.
  // Once kComplete or kBad, not to be called again.
  State Decode(std::string_view input, size_t* consumed, std::string* body);

  const HttpFault& fault() const { return fault_; }

 private:
  enum class Step : uint8_t {
    kSize,
    kExtensionName,
    kExtensionToken,
    kExtensionValue,
    kExtensionValueToken,
    kQuoted,
    kQuotedPair,
    kAfterQuoted,
    kSizeLf,
    kData,
    kDataCr,
    kDataLf,
    kTrailer,
    kTrailerLf,
  };
  State Bad(int status, std::string_view code, std::string message);
  // Ends the extension part of a line or begins the next extension; kBad for anything else.
  State AfterExtension(char c);
  State EndTrailerLine();

  uint64_t max_body_;
  size_t max_trailer_fields_, max_trailer_bytes_;
  Step step_ = Step::kSize;
  uint64_t chunk_left_ = 0;  // of the size line, then of the data
  uint64_t body_bytes_ = 0;
  int size_digits_ = 0;
  size_t extension_bytes_ = 0, all_extension_bytes_ = 0;
  size_t trailer_fields_ = 0, trailer_bytes_ = 0;
  std::string trailer_line_;
  HttpFault fault_;
};

}  // namespace rill::server
