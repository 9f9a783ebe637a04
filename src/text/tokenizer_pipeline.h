// PipelineTokenizer: added tokens -> normalizer -> pre-tokenizer -> token model -> template, and
// the decoder back. Every kind of tokenizer file is loaded into one of these.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/normalizer.h"
#include "text/pretokenizer.h"
#include "text/token_decoder.h"
#include "text/token_model.h"
#include "text/tokenizer.h"

namespace rill::text {

// What the loaders fill in. `vocab` and `model` are set, the rest may stay empty.
struct TokenizerParts {
  std::string kind;
  std::unique_ptr<Vocab> vocab;            // every id, added tokens included
  std::shared_ptr<const void> model_data;  // whatever else the model points to
  std::unique_ptr<TokenModel> model;
  std::vector<AddedToken> added;     // found in text; special ones are control tokens
  std::vector<int32_t> control_ids;  // further control tokens that are never found in text
  Normalizer normalizer;
  // A text starts with a space symbol of its own after every added token when the normalizer adds
  // one; SentencePiece pieces that came from raw text do.
  PreTokenizer pre_tokenizer;
  TokenDecoder decoder;
  std::vector<int32_t> prefix_ids;  // add_special puts these around a text
  std::vector<int32_t> suffix_ids;
  std::optional<int32_t> bos_id;
  std::optional<int32_t> eos_id;
  std::vector<int32_t> stop_ids;  // eos_id and well-known end-of-turn tokens are added
};

// Errors: kResourceExhausted for an added token that is too long; kInvalidArgument for ids outside
// the vocabulary in prefix_ids, suffix_ids, bos_id, eos_id.
Result<std::shared_ptr<const Tokenizer>> MakePipelineTokenizer(TokenizerParts parts);

}  // namespace rill::text
