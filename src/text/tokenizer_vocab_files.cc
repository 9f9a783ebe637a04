// Tokenizers as separate files: vocab.json + merges.txt (GPT-2 family), vocab.txt (BERT family).
// How they are used stands in tokenizer_config.json ("tokenizer_class").

#include <algorithm>

#include "base/utf8.h"
#include "text/bpe.h"
#include "text/tokenizer_files.h"
#include "text/wordpiece.h"

namespace rill::text {
namespace {

constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

std::string_view NextLine(std::string_view& text) {
  const size_t end = std::min(text.find('\n'), text.size());
  std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

// The named tokens of tokenizer_config.json that are in the vocabulary but not declared as added.
void AddNamedTokens(const Json& config, const Vocab& vocab, std::vector<AddedToken>& added) {
  for (const std::string_view key : {"bos_token", "eos_token", "unk_token", "pad_token",
                                     "cls_token", "sep_token", "mask_token"}) {
    AddedToken token;
    token.text = SideTokenName(config, key);
    token.id = vocab.Find(token.text);
    token.special = true;
    token.lstrip = key == "mask_token";
    const bool known = std::any_of(added.begin(), added.end(),
                                   [&](const AddedToken& t) { return t.id == token.id; });
    if (!token.text.empty() && token.id >= 0 && !known) added.push_back(std::move(token));
  }
}

Status AddIds(const Vocab& vocab, std::string_view text, std::vector<int32_t>& ids) {
  const int32_t id = vocab.Find(text);
  if (id >= 0) ids.push_back(id);
  return OkStatus();
}

Status BuildGpt2(const Json& json, std::string_view merges_txt, const TokenizerSideFiles& side,
                 TokenizerParts& parts) {
  if (!json.is_object()) {
    return InvalidArgument("expected an object of token: id, got " + std::string(json.TypeName()));
  }
  RILL_ASSIGN_OR_RETURN(parts.added, ReadAddedTokensDecoder(side.tokenizer_config));
  Json::Object model = {{"type", "BPE"}, {"vocab", json}, {"merges", Json::Array{}}};
  if (merges_txt.starts_with("#version")) NextLine(merges_txt);
  Json::Array& merges = model[2].second.mutable_array();
  while (!merges_txt.empty()) {
    const std::string_view line = NextLine(merges_txt);
    if (!line.empty()) merges.push_back(Json(line));
  }
  RILL_RETURN_IF_ERROR(ReadModel(Json(std::move(model)), true, parts));
  RILL_ASSIGN_OR_RETURN(const std::string type,
                        side.tokenizer_config.GetString("tokenizer_class", "GPT2Tokenizer"));
  RILL_ASSIGN_OR_RETURN(const bool prefix_space,
                        side.tokenizer_config.GetBool("add_prefix_space", false));
  std::vector<PreTokenizerStep> steps;
  PreTokenizerStep to_bytes;
  to_bytes.kind = PreTokenizerStep::Kind::kByteLevel;
  to_bytes.add_prefix_space = prefix_space;
  if (type.starts_with("Qwen2")) {
    PreTokenizerStep split;
    RILL_ASSIGN_OR_RETURN(split.matcher, CompilePattern(kQwen2));
    steps.push_back(std::move(split));
    to_bytes.use_regex = false;
    std::vector<NormalizerStep> normalizers(1);  // NFC
    parts.normalizer = Normalizer(std::move(normalizers));
  }
  steps.push_back(std::move(to_bytes));
  parts.pre_tokenizer = PreTokenizer(std::move(steps));
  parts.pre_tokenizer.SkipByteMapping();
  DecoderStep decoder;
  decoder.kind = DecoderStep::Kind::kByteLevel;
  std::vector<DecoderStep> decoders = {std::move(decoder)};
  parts.decoder = TokenDecoder(std::move(decoders));
  AddNamedTokens(side.tokenizer_config, *parts.vocab, parts.added);
  const std::string bos = SideTokenName(side.tokenizer_config, "bos_token");
  RILL_ASSIGN_OR_RETURN(const bool add_bos, side.tokenizer_config.GetBool("add_bos_token", false));
  if (type.starts_with("Roberta") || type.starts_with("Bart")) {
    RILL_RETURN_IF_ERROR(AddIds(*parts.vocab, "<s>", parts.prefix_ids));
    RILL_RETURN_IF_ERROR(AddIds(*parts.vocab, "</s>", parts.suffix_ids));
  } else if (add_bos && !bos.empty()) {
    RILL_RETURN_IF_ERROR(AddIds(*parts.vocab, bos, parts.prefix_ids));
  }
  parts.kind = "byte-level BPE (" + type + ", vocab.json + merges.txt)";
  return OkStatus();
}

Status BuildBert(std::string_view vocab_txt, const TokenizerSideFiles& side,
                 TokenizerParts& parts) {
  const Json& config = side.tokenizer_config;
  RILL_ASSIGN_OR_RETURN(parts.added, ReadAddedTokensDecoder(config));
  parts.vocab = std::make_unique<Vocab>();
  const auto lines = static_cast<size_t>(std::count(vocab_txt.begin(), vocab_txt.end(), '\n')) + 1;
  if (lines > static_cast<size_t>(kMaxVocabSize)) {
    return ResourceExhausted(std::to_string(lines) + " lines, limit " +
                             std::to_string(kMaxVocabSize));
  }
  size_t bytes = vocab_txt.size();
  for (const AddedToken& token : parts.added) bytes += token.text.size();
  parts.vocab->Reserve(lines + parts.added.size(), bytes);
  int32_t id = 0;
  while (!vocab_txt.empty()) {
    RILL_RETURN_IF_ERROR(parts.vocab->Add(id++, NextLine(vocab_txt)));
  }
  if (id == 0) return InvalidArgument("no tokens");
  for (const AddedToken& token : parts.added) {
    if (!parts.vocab->Has(token.id)) {
      RILL_RETURN_IF_ERROR(parts.vocab->Add(token.id, token.text));
    }
  }
  const auto name = [&](std::string_view key, std::string_view fallback) {
    std::string text = SideTokenName(config, key);
    return text.empty() ? std::string(fallback) : text;
  };
  WordPieceOptions options;
  options.unk_id = parts.vocab->Find(name("unk_token", "[UNK]"));
  parts.model = MakeWordPiece(*parts.vocab, std::move(options));
  NormalizerStep normalizer;
  normalizer.kind = NormalizerStep::Kind::kBert;
  RILL_ASSIGN_OR_RETURN(normalizer.lowercase, config.GetBool("do_lower_case", true));
  RILL_ASSIGN_OR_RETURN(normalizer.chinese_chars, config.GetBool("tokenize_chinese_chars", true));
  RILL_ASSIGN_OR_RETURN(normalizer.strip_accents,
                        config.GetBool("strip_accents", normalizer.lowercase));
  std::vector<NormalizerStep> normalizers = {std::move(normalizer)};
  parts.normalizer = Normalizer(std::move(normalizers));
  RILL_ASSIGN_OR_RETURN(auto steps,
                        ReadPreTokenizer(Json(Json::Object{{"type", "BertPreTokenizer"}})));
  parts.pre_tokenizer = PreTokenizer(std::move(steps));
  RILL_ASSIGN_OR_RETURN(auto decoders, ReadDecoder(Json(Json::Object{{"type", "WordPiece"}})));
  parts.decoder = TokenDecoder(std::move(decoders));
  AddNamedTokens(config, *parts.vocab, parts.added);
  if (parts.added.empty()) {  // no tokenizer_config.json: BERT's own five
    for (const std::string_view text : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}) {
      AddedToken token;
      token.text = text;
      token.id = parts.vocab->Find(text);
      token.special = true;
      if (token.id >= 0) parts.added.push_back(std::move(token));
    }
  }
  RILL_RETURN_IF_ERROR(AddIds(*parts.vocab, name("cls_token", "[CLS]"), parts.prefix_ids));
  RILL_RETURN_IF_ERROR(AddIds(*parts.vocab, name("sep_token", "[SEP]"), parts.suffix_ids));
  parts.kind = "WordPiece (vocab.txt)";
  return OkStatus();
}

Result<std::shared_ptr<const Tokenizer>> Finish(Status status, TokenizerParts parts,
                                                std::string_view culprit,
                                                const TokenizerSideFiles& side) {
  if (!status.ok()) return status.WithPrefix(culprit);
  ApplySideFiles(side, parts);
  auto tokenizer = MakePipelineTokenizer(std::move(parts));
  if (!tokenizer.ok()) return tokenizer.status().WithPrefix(culprit);
  return tokenizer;
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> LoadVocabMerges(std::string_view vocab_json,
                                                         std::string_view merges_txt,
                                                         std::string_view culprit,
                                                         const TokenizerSideFiles& side) {
  RILL_ASSIGN_OR_RETURN(const Json json, Json::Parse(vocab_json, culprit));
  TokenizerParts parts;
  const Status status = BuildGpt2(json, merges_txt, side, parts);
  return Finish(status, std::move(parts), culprit, side);
}

Result<std::shared_ptr<const Tokenizer>> LoadVocabTxt(std::string_view vocab_txt,
                                                      std::string_view culprit,
                                                      const TokenizerSideFiles& side) {
  TokenizerParts parts;
  const Status status = BuildBert(vocab_txt, side, parts);
  return Finish(status, std::move(parts), culprit, side);
}

}  // namespace rill::text
