// SentencePiece vocabularies, wherever they come from (tokenizer.model, GGUF), as tokenizer parts.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/normalizer.h"
#include "text/tokenizer_pipeline.h"

namespace rill::text {

struct SentencePieceSpec {
  std::vector<std::string_view> texts;  // by id; valid while BuildSentencePiece runs
  std::vector<float> scores;            // same size
  std::vector<SpmPieceType> types;      // same size
  bool unigram = false;                 // else BPE
  bool byte_fallback = false;
  int32_t unk_id = 0;
  std::string unk_surface = " \xE2\x81\x87 ";  // what unknown decodes to
  NormalizerStep normalizer;                   // kind is set by BuildSentencePiece
  // User-defined pieces are found in the raw text like added tokens (as GGUF runtimes do), not
  // by the model (as SentencePiece does).
  bool user_defined_as_added = false;
};

// Fills vocab, model, normalizer, decoder, added (control pieces, unknown) of `parts`.
// Errors: kInvalidArgument for an empty vocabulary, NaN scores, byte pieces that are none.
Status BuildSentencePiece(SentencePieceSpec spec, TokenizerParts& parts);

}  // namespace rill::text
