// The sentencepiece ModelProto, read by hand from protobuf wire format.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "rill/status.h"

namespace rill::text {

// Only what encoding and decoding need. Views point into the parsed bytes.
struct SentencePieceProto {
  struct Piece {
    std::string_view text;
    float score = 0;
    int type = 1;  // SentencePiece.Type: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused,
                   // 6 byte
  };
  std::vector<Piece> pieces;
  // trainer_spec
  int model_type = 1;  // 1 unigram, 2 BPE, 3 word, 4 char
  bool whitespace_as_suffix = false;
  bool byte_fallback = false;
  std::string_view unk_surface = " \xE2\x81\x87 ";
  std::string_view bos_piece = "<s>", eos_piece = "</s>", pad_piece = "<pad>";
  // normalizer_spec
  std::string_view charsmap;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
};

// Errors: kInvalidArgument naming the byte offset of a malformed field. `bytes` must outlive the
// result.
Result<SentencePieceProto> ParseSentencePieceProto(std::string_view bytes);

}  // namespace rill::text
