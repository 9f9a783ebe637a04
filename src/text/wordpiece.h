// WordPiece (greedy longest match from the left, as BERT) and WordLevel (whole words).
#pragma once

#include <memory>
#include <string>

#include "text/token_model.h"

namespace rill::text {

struct WordPieceOptions {
  int32_t unk_id = -1;
  std::string continuing_prefix = "##";
  size_t max_word_runes = 100;  // a longer word is unknown
};

// `vocab` must outlive the model. Time per word: its bytes times the longest token's.
std::unique_ptr<TokenModel> MakeWordPiece(const Vocab& vocab, WordPieceOptions options);
// A piece that is no token is `unk_id`, or nothing when that is negative.
std::unique_ptr<TokenModel> MakeWordLevel(const Vocab& vocab, int32_t unk_id);

}  // namespace rill::text
