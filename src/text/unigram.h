// Unigram: the segmentation of a piece with the highest sum of token scores (log probabilities).
// Source: Kudo 2018, arXiv:1804.10959. One left-to-right pass over a prefix tree (Viterbi): time is
// the piece's bytes times the longest token's.
#pragma once

#include <memory>
#include <vector>

#include "text/token_model.h"

namespace rill::text {

struct UnigramOptions {
  // By id. Ids that take no part (control, unknown, byte, unused) are left out of `active`.
  std::vector<double> scores;
  std::vector<bool> active;
  std::vector<bool> user_defined;  // always preferred to what they are made of; may be empty
  double min_score = 0;            // of the active ordinary tokens: an unknown costs 10 more
  double max_score = 0;
  int32_t unk_id = -1;
  bool byte_fallback = false;
  // SentencePiece keeps the best score in single precision; the Hugging Face library in double.
  bool single_precision = false;
  // The Hugging Face library looks a run of unknown characters up once more as a whole.
  bool look_up_unknown_runs = false;
};

// Tokens longer than this are refused: they bound the time of one position.
inline constexpr size_t kMaxUnigramTokenBytes = 1024;

// `vocab` must outlive the model. Errors: kInvalidArgument for a NaN or infinite score;
// kResourceExhausted for a token that is too long.
Result<std::unique_ptr<TokenModel>> MakeUnigram(const Vocab& vocab, UnigramOptions options);

}  // namespace rill::text
