#include "text/sentencepiece_proto.h"

#include <cstring>

namespace rill::text {
namespace {

// Protobuf wire types.
constexpr int kVarint = 0;
constexpr int kFixed64 = 1;
constexpr int kBytes = 2;
constexpr int kFixed32 = 5;

struct Field {
  uint32_t number = 0;
  int wire = 0;
  uint64_t value = 0;      // varint or fixed
  std::string_view bytes;  // length-delimited
};

class WireReader {
 public:
  // `base`: offset of `bytes` in the file, for messages.
  WireReader(std::string_view bytes, size_t base) : bytes_(bytes), base_(base) {}
  bool done() const { return pos_ >= bytes_.size(); }

  Result<Field> Next() {
    Field field;
    RILL_ASSIGN_OR_RETURN(const uint64_t key, Varint());
    field.number = static_cast<uint32_t>(key >> 3);
    field.wire = static_cast<int>(key & 7);
    if (field.number == 0 || (key >> 3) > 0x1FFFFFFF) return Error("field number");
    switch (field.wire) {
      case kVarint: {
        RILL_ASSIGN_OR_RETURN(field.value, Varint());
        return field;
      }
      case kFixed64: return Fixed(8, field);
      case kFixed32: return Fixed(4, field);
      case kBytes: {
        RILL_ASSIGN_OR_RETURN(const uint64_t size, Varint());
        if (size > bytes_.size() - pos_) return Error("length");
        field.bytes = bytes_.substr(pos_, static_cast<size_t>(size));
        pos_ += static_cast<size_t>(size);
        return field;
      }
      default: return Error("wire type");
    }
  }
  // Offset in the file of a view that Next gave.
  size_t OffsetOf(std::string_view part) const {
    return base_ + static_cast<size_t>(part.data() - bytes_.data());
  }
  Status Error(std::string_view what) const {
    return InvalidArgument("sentencepiece model: bad " + std::string(what) + " at byte " +
                           std::to_string(base_ + pos_));
  }

 private:
  Result<uint64_t> Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (done()) return Error("varint (truncated)");
      const auto byte = static_cast<unsigned char>(bytes_[pos_++]);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    return Error("varint (too long)");
  }
  Result<Field> Fixed(size_t size, Field field) {
    if (size > bytes_.size() - pos_) return Error("fixed value (truncated)");
    std::memcpy(&field.value, bytes_.data() + pos_, size);  // little-endian hosts only
    pos_ += size;
    return field;
  }

  std::string_view bytes_;
  size_t base_;
  size_t pos_ = 0;
};

Status ParsePiece(std::string_view bytes, size_t base, SentencePieceProto& proto) {
  SentencePieceProto::Piece piece;
  for (WireReader reader(bytes, base); !reader.done();) {
    RILL_ASSIGN_OR_RETURN(const Field field, reader.Next());
    if (field.number == 1 && field.wire == kBytes) {
      piece.text = field.bytes;
    } else if (field.number == 2 && field.wire == kFixed32) {
      const auto bits = static_cast<uint32_t>(field.value);
      std::memcpy(&piece.score, &bits, sizeof bits);
    } else if (field.number == 3 && field.wire == kVarint) {
      if (field.value < 1 || field.value > 6) return reader.Error("piece type");
      piece.type = static_cast<int>(field.value);
    }
  }
  proto.pieces.push_back(piece);
  return OkStatus();
}

Status ParseTrainer(std::string_view bytes, size_t base, SentencePieceProto& proto) {
  for (WireReader reader(bytes, base); !reader.done();) {
    RILL_ASSIGN_OR_RETURN(const Field field, reader.Next());
    switch (field.number) {
      case 3: proto.model_type = field.value <= 4 ? static_cast<int>(field.value) : 0; break;
      case 24: proto.whitespace_as_suffix = field.value != 0; break;
      case 35: proto.byte_fallback = field.value != 0; break;
      case 44: proto.unk_surface = field.bytes; break;
      case 46: proto.bos_piece = field.bytes; break;
      case 47: proto.eos_piece = field.bytes; break;
      case 48: proto.pad_piece = field.bytes; break;
      default: break;
    }
  }
  return OkStatus();
}

Status ParseNormalizer(std::string_view bytes, size_t base, SentencePieceProto& proto) {
  for (WireReader reader(bytes, base); !reader.done();) {
    RILL_ASSIGN_OR_RETURN(const Field field, reader.Next());
    switch (field.number) {
      case 2: proto.charsmap = field.bytes; break;
      case 3: proto.add_dummy_prefix = field.value != 0; break;
      case 4: proto.remove_extra_whitespaces = field.value != 0; break;
      case 5: proto.escape_whitespaces = field.value != 0; break;
      default: break;
    }
  }
  return OkStatus();
}

}  // namespace

Result<SentencePieceProto> ParseSentencePieceProto(std::string_view bytes) {
  SentencePieceProto proto;
  for (WireReader reader(bytes, 0); !reader.done();) {
    RILL_ASSIGN_OR_RETURN(const Field field, reader.Next());
    if (field.wire != kBytes) continue;
    const size_t base = reader.OffsetOf(field.bytes);
    switch (field.number) {
      case 1: RILL_RETURN_IF_ERROR(ParsePiece(field.bytes, base, proto)); break;
      case 2: RILL_RETURN_IF_ERROR(ParseTrainer(field.bytes, base, proto)); break;
      case 3: RILL_RETURN_IF_ERROR(ParseNormalizer(field.bytes, base, proto)); break;
      default: break;
    }
  }
  return proto;
}

}  // namespace rill::text
