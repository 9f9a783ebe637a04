#include "server/http/chunk_decoder.h"

#include <algorithm>

namespace rill::server {

namespace {

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool IsTokenByte(char c) {
  return IsToken(std::string_view(&c, 1));
}

// qdtext or the second byte of a quoted-pair: HTAB, SP, VCHAR, obs-text.
bool IsQuotedByte(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
}

// Fields that a trailer must not carry (RFC 9110, 6.5.1): had we merged them, or a proxy done so,
// they would have changed what the request is.
bool IsForbiddenTrailer(std::string_view name) {
  for (std::string_view forbidden :
       {"transfer-encoding", "content-length", "host", "connection", "trailer", "te", "upgrade",
        "expect", "content-encoding", "content-type", "content-range", "max-forwards"}) {
    if (name == forbidden) return true;
  }
  return false;
}

}  // namespace

ChunkDecoder::ChunkDecoder(uint64_t max_body, size_t max_trailer_fields, size_t max_trailer_bytes)
    : max_body_(max_body),
      max_trailer_fields_(max_trailer_fields),
      max_trailer_bytes_(max_trailer_bytes) {}

ChunkDecoder::State ChunkDecoder::Bad(int status, std::string_view code, std::string message) {
  fault_ = {status, std::string(code), std::move(message)};
  return State::kBad;
}

ChunkDecoder::State ChunkDecoder::AfterExtension(char c) {
  if (c == ';') {
    step_ = Step::kExtensionName;
    return State::kNeedMore;
  }
  if (c == '\r') {
    step_ = Step::kSizeLf;
    return State::kNeedMore;
  }
  return Bad(400, "malformed_request", "chunk extension: expected token or quoted string");
}

ChunkDecoder::State ChunkDecoder::EndTrailerLine() {
  if (trailer_line_.empty()) return State::kComplete;
  if (++trailer_fields_ > max_trailer_fields_) {
    return Bad(431, "too_many_headers", "too many header and trailer fields");
  }
  Header field;
  if ((fault_ = ParseFieldLine(trailer_line_, &field))) return State::kBad;
  if (IsForbiddenTrailer(field.name)) {
    return Bad(400, "malformed_request", "a trailer must not carry '" + field.name + "'");
  }
  trailer_line_.clear();
  step_ = Step::kTrailer;
  return State::kNeedMore;
}

ChunkDecoder::State ChunkDecoder::Decode(std::string_view input, size_t* consumed,
                                         std::string* body) {
  size_t i = 0;
  State state = State::kNeedMore;
  while (i < input.size() && state == State::kNeedMore) {
    if (step_ == Step::kData) {
      const size_t take = static_cast<size_t>(std::min<uint64_t>(chunk_left_, input.size() - i));
      body->append(input.substr(i, take));
      i += take;
      chunk_left_ -= take;
      if (chunk_left_ == 0) step_ = Step::kDataCr;
      continue;
    }
    const char c = input[i++];
    switch (step_) {
      case Step::kSize: {
        const int digit = HexValue(c);
        if (digit >= 0) {
          if (++size_digits_ > 16) {
            state = Bad(400, "malformed_request", "chunk size: more than 16 digits");
            break;
          }
          chunk_left_ = chunk_left_ << 4 | static_cast<uint64_t>(digit);
        } else if (size_digits_ == 0) {
          state = Bad(400, "malformed_request", "chunk size: expected hexadecimal digits");
        } else if (c == ';') {
          step_ = Step::kExtensionName;
        } else if (c == '\r') {
          step_ = Step::kSizeLf;
        } else {
          state = Bad(400, "malformed_request", "chunk size: expected hexadecimal digits");
        }
        break;
      }
      case Step::kExtensionName:
        // The first byte of a name, after ';'.
        if (IsTokenByte(c)) {
          step_ = Step::kExtensionToken;
        } else {
          state = Bad(400, "malformed_request", "chunk extension: expected a name after ';'");
        }
        break;
      case Step::kExtensionToken:
        if (IsTokenByte(c)) break;
        if (c == '=') {
          step_ = Step::kExtensionValue;
        } else {
          state = AfterExtension(c);
        }
        break;
      case Step::kExtensionValue:
        if (c == '"') {
          step_ = Step::kQuoted;
        } else if (IsTokenByte(c)) {
          step_ = Step::kExtensionValueToken;
        } else {
          state = Bad(400, "malformed_request", "chunk extension: expected a value after '='");
        }
        break;
      case Step::kExtensionValueToken:
        if (!IsTokenByte(c)) state = AfterExtension(c);
        break;
      case Step::kQuoted:
        if (c == '"') {
          step_ = Step::kAfterQuoted;
        } else if (c == '\\') {
          step_ = Step::kQuotedPair;
        } else if (!IsQuotedByte(c)) {
          state = Bad(400, "malformed_request", "chunk extension: a control character");
        }
        break;
      case Step::kQuotedPair:
        if (IsQuotedByte(c)) {
          step_ = Step::kQuoted;
        } else {
          state = Bad(400, "malformed_request", "chunk extension: a control character");
        }
        break;
      case Step::kAfterQuoted: state = AfterExtension(c); break;
      case Step::kSizeLf:
        if (c != '\n') {
          state = Bad(400, "malformed_request", "CR without LF after a chunk size");
          break;
        }
        size_digits_ = 0;
        extension_bytes_ = 0;
        if (chunk_left_ == 0) {
          step_ = Step::kTrailer;
        } else if (chunk_left_ > max_body_ - body_bytes_) {
          state = Bad(413, "body_too_large",
                      "the body is larger than " + std::to_string(max_body_) + " bytes");
        } else {
          body_bytes_ += chunk_left_;
          step_ = Step::kData;
        }
        break;
      case Step::kData: break;  // above
      case Step::kDataCr:
        if (c != '\r') {
          state = Bad(400, "malformed_request", "chunk data is longer than its size says");
        }
        step_ = Step::kDataLf;
        break;
      case Step::kDataLf:
        if (c != '\n') state = Bad(400, "malformed_request", "CR without LF after chunk data");
        step_ = Step::kSize;
        break;
      case Step::kTrailer:
        if (++trailer_bytes_ > max_trailer_bytes_) {
          state = Bad(431, "headers_too_large", "head and trailers are too large");
        } else if (c == '\r') {
          step_ = Step::kTrailerLf;
        } else if (c == '\n') {
          state = Bad(400, "malformed_request", "LF without CR in a trailer");
        } else {
          trailer_line_ += c;
        }
        break;
      case Step::kTrailerLf:
        state = c == '\n' ? EndTrailerLine()
                          : Bad(400, "malformed_request", "CR without LF in a trailer");
        break;
    }
    const bool in_extension = step_ >= Step::kExtensionName && step_ <= Step::kAfterQuoted;
    if (in_extension && state == State::kNeedMore &&
        (++extension_bytes_ > kMaxExtensionBytes ||
         ++all_extension_bytes_ > kMaxAllExtensionBytes)) {
      state = Bad(400, "chunk_extension_too_large", "chunk extensions are too large");
    }
  }
  *consumed = i;
  return state;
}

}  // namespace rill::server
