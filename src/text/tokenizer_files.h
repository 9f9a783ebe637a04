// The loaders of each kind of tokenizer file. `culprit` (a path) starts every error message.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"
#include "rill/status.h"
#include "text/bpe.h"
#include "text/tokenizer.h"
#include "text/tokenizer_pipeline.h"

namespace rill::io {
class GgufMetadata;
}

namespace rill::text {

// What other files beside a tokenizer file say about it. Null Json where absent.
struct TokenizerSideFiles {
  Json tokenizer_config;   // added tokens, bos/eos, add_bos_token …
  Json generation_config;  // eos_token_id
  Json config;             // eos_token_id, bos_token_id
};

Result<std::shared_ptr<const Tokenizer>> LoadTokenizerJson(std::string_view text,
                                                           std::string_view culprit,
                                                           const TokenizerSideFiles& side = {});
// vocab.json + merges.txt, byte-level (GPT-2, Qwen2).
Result<std::shared_ptr<const Tokenizer>> LoadVocabMerges(std::string_view vocab_json,
                                                         std::string_view merges_txt,
                                                         std::string_view culprit,
                                                         const TokenizerSideFiles& side);
// vocab.txt: one WordPiece token a line (BERT).
Result<std::shared_ptr<const Tokenizer>> LoadVocabTxt(std::string_view vocab_txt,
                                                      std::string_view culprit,
                                                      const TokenizerSideFiles& side);
Result<std::shared_ptr<const Tokenizer>> LoadSentencePiece(std::string_view bytes,
                                                           std::string_view culprit,
                                                           const TokenizerSideFiles& side = {});
Result<std::shared_ptr<const Tokenizer>> LoadTiktoken(std::string_view text,
                                                      std::string_view culprit,
                                                      const TokenizerSideFiles& side = {});
Result<std::shared_ptr<const Tokenizer>> LoadGgufTokenizer(const io::GgufMetadata& metadata,
                                                           std::string_view culprit,
                                                           const TokenizerSideFiles& side = {});

// Shared by the loaders of Hugging Face files -------------------------------------------------

// A token name as tokenizer_config.json writes it: a string or {"content": …}. Empty when absent.
std::string SideTokenName(const Json& config, std::string_view key);
// That what is read of the side files has its type. An id below 0 or beyond the vocabulary stands
// for none, as in released files. Errors: kInvalidArgument with file and key.
Status CheckSideFiles(const TokenizerSideFiles& side);
// Fills bos_id, eos_id and stop_ids from the side files, by name then by id.
void ApplySideFiles(const TokenizerSideFiles& side, TokenizerParts& parts);
// The tokens of tokenizer_config.json's "added_tokens_decoder".
Result<std::vector<AddedToken>> ReadAddedTokensDecoder(const Json& config);

// JSON parts of tokenizer.json.
Result<std::vector<NormalizerStep>> ReadNormalizer(const Json& json);
Result<std::vector<PreTokenizerStep>> ReadPreTokenizer(const Json& json);
Result<std::vector<DecoderStep>> ReadDecoder(const Json& json);
// Fills vocab (with the added tokens) and model. `json` is tokenizer.json's "model".
Status ReadModel(const Json& json, bool raw_bytes, TokenizerParts& parts);
// "a b" or ["a", "b"] lines into rules. Every name must be in the vocabulary.
// Errors: kInvalidArgument with the rule's number.
Status AddMerge(const Vocab& vocab, std::string_view left, std::string_view right,
                size_t prefix_bytes, uint32_t rank, std::string& scratch, BpeMerges& merges);

}  // namespace rill::text
