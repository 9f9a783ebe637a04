// Tokenizers in GGUF metadata: tokenizer.ggml.model = gpt2, llama, bert, t5.

#include <algorithm>
#include <limits>

#include "base/utf8.h"
#include "io/gguf.h"
#include "text/bpe.h"
#include "text/pretokenizer_names.h"
#include "text/sentencepiece.h"
#include "text/tokenizer_files.h"
#include "text/wordpiece.h"

namespace rill::text {
namespace {

constexpr std::string_view kPrefix = "tokenizer.ggml.";

// The keys that every kind has.
struct GgufVocab {
  std::span<const std::string_view> texts;
  std::vector<double> scores;       // empty when absent
  std::vector<SpmPieceType> types;  // kNormal when absent
  std::optional<int32_t> bos, eos, unk, sep, cls;
  std::optional<bool> add_bos, add_eos, add_sep, add_space_prefix, remove_extra_whitespaces;
};

class Reader {
 public:
  explicit Reader(const io::GgufMetadata& metadata) : metadata_(metadata) {}

  Result<std::optional<bool>> Bool(std::string_view key) const {
    return metadata_.GetBool(std::string(kPrefix) + std::string(key));
  }
  // An id of the vocabulary; files write 2^32-1 for "none".
  Result<std::optional<int32_t>> Id(std::string_view key, size_t vocab_size) const {
    const std::string full = std::string(kPrefix) + std::string(key);
    RILL_ASSIGN_OR_RETURN(const std::optional<int64_t> id, metadata_.GetInt(full));
    if (!id || *id < 0 || *id == std::numeric_limits<uint32_t>::max()) {
      return std::optional<int32_t>();
    }
    if (*id >= static_cast<int64_t>(vocab_size)) {
      return InvalidArgument(full + ": expected an id below " + std::to_string(vocab_size) +
                             ", got " + std::to_string(*id));
    }
    return std::optional(static_cast<int32_t>(*id));
  }

  Result<GgufVocab> Vocab() const {
    GgufVocab out;
    RILL_ASSIGN_OR_RETURN(const auto texts, metadata_.GetStrings("tokenizer.ggml.tokens"));
    if (!texts || texts->empty()) return InvalidArgument("tokenizer.ggml.tokens: no tokens");
    if (texts->size() > static_cast<size_t>(kMaxVocabSize)) {
      return ResourceExhausted("tokenizer.ggml.tokens: " + std::to_string(texts->size()) +
                               " tokens, limit " + std::to_string(kMaxVocabSize));
    }
    out.texts = *texts;
    const size_t count = out.texts.size();
    RILL_ASSIGN_OR_RETURN(auto scores, metadata_.GetFloats("tokenizer.ggml.scores"));
    if (scores) out.scores = std::move(*scores);
    if (!out.scores.empty() && out.scores.size() != count) {
      return SizeMismatch("scores", count, out.scores.size());
    }
    RILL_ASSIGN_OR_RETURN(const auto types, metadata_.GetInts("tokenizer.ggml.token_type"));
    if (types && types->size() != count) return SizeMismatch("token_type", count, types->size());
    out.types.assign(count, SpmPieceType::kNormal);
    for (size_t i = 0; types && i < count; ++i) {
      const int64_t type = (*types)[i];
      if (type >= 1 && type <= 6) out.types[i] = static_cast<SpmPieceType>(type);
    }
    RILL_ASSIGN_OR_RETURN(out.bos, Id("bos_token_id", count));
    RILL_ASSIGN_OR_RETURN(out.eos, Id("eos_token_id", count));
    RILL_ASSIGN_OR_RETURN(out.unk, Id("unknown_token_id", count));
    RILL_ASSIGN_OR_RETURN(out.sep, Id("seperator_token_id", count));
    RILL_ASSIGN_OR_RETURN(out.cls, Id("cls_token_id", count));
    RILL_ASSIGN_OR_RETURN(out.add_bos, Bool("add_bos_token"));
    RILL_ASSIGN_OR_RETURN(out.add_eos, Bool("add_eos_token"));
    RILL_ASSIGN_OR_RETURN(out.add_sep, Bool("add_sep_token"));
    RILL_ASSIGN_OR_RETURN(out.add_space_prefix, Bool("add_space_prefix"));
    RILL_ASSIGN_OR_RETURN(out.remove_extra_whitespaces, Bool("remove_extra_whitespaces"));
    return out;
  }

 private:
  static Status SizeMismatch(std::string_view key, size_t want, size_t got) {
    return InvalidArgument("tokenizer.ggml." + std::string(key) + ": expected " +
                           std::to_string(want) + " values, got " + std::to_string(got));
  }
  const io::GgufMetadata& metadata_;
};

// Control and user-defined tokens; ordinary ones do not come here.
void AddDeclaredTokens(const GgufVocab& vocab, TokenizerParts& parts) {
  for (size_t i = 0; i < vocab.texts.size(); ++i) {
    const SpmPieceType type = vocab.types[i];
    if (type != SpmPieceType::kControl && type != SpmPieceType::kUnknown &&
        type != SpmPieceType::kUserDefined) {
      continue;
    }
    AddedToken token;
    token.id = static_cast<int32_t>(i);
    token.text = vocab.texts[i];
    token.special = type != SpmPieceType::kUserDefined;
    parts.added.push_back(std::move(token));
  }
}

Status CopyTexts(std::span<const std::string_view> texts, Vocab& out) {
  size_t bytes = 0;
  for (const std::string_view text : texts) bytes += text.size();
  out.Reserve(texts.size(), bytes);
  for (size_t i = 0; i < texts.size(); ++i) {
    RILL_RETURN_IF_ERROR(out.Add(static_cast<int32_t>(i), texts[i]));
  }
  return OkStatus();
}

Status LoadBpe(const io::GgufMetadata& metadata, const GgufVocab& vocab, TokenizerParts& parts) {
  RILL_ASSIGN_OR_RETURN(const auto pre, metadata.GetString("tokenizer.ggml.pre"));
  const std::string_view name = pre && !pre->empty() ? *pre : std::string_view("default");
  auto named = FindPreTokenizer(name);
  if (!named.ok()) return named.status().WithPrefix("tokenizer.ggml.pre");
  parts.vocab = std::make_unique<Vocab>();
  RILL_RETURN_IF_ERROR(CopyTexts(vocab.texts, *parts.vocab));
  RILL_ASSIGN_OR_RETURN(const auto rules, metadata.GetStrings("tokenizer.ggml.merges"));
  if (!rules) return InvalidArgument("tokenizer.ggml.merges is missing");
  BpeMerges merges;
  merges.Reserve(rules->size());
  std::string scratch;
  uint32_t rank = 0;
  for (const std::string_view rule : *rules) {
    const size_t space = rule.find(' ', 1);
    // A rule that leads to no token can never give one; files have a few of those.
    if (space != std::string_view::npos) {
      (void)AddMerge(*parts.vocab, rule.substr(0, space), rule.substr(space + 1), 0, rank, scratch,
                     merges);
    }
    ++rank;
  }
  BpeOptions options;
  options.raw_bytes = true;
  options.ignore_merges = named->ignore_merges;
  parts.model = MakeBpe(*parts.vocab, std::move(merges), std::move(options));
  PreTokenizerStep& bytes = named->steps.back();
  bytes.add_prefix_space = vocab.add_space_prefix.value_or(false);
  parts.pre_tokenizer = PreTokenizer(std::move(named->steps));
  parts.pre_tokenizer.SkipByteMapping();
  DecoderStep decoder;
  decoder.kind = DecoderStep::Kind::kByteLevel;
  std::vector<DecoderStep> decoders;
  decoders.push_back(std::move(decoder));
  parts.decoder = TokenDecoder(std::move(decoders));
  AddDeclaredTokens(vocab, parts);
  if (vocab.add_bos.value_or(named->add_bos) && vocab.bos) parts.prefix_ids.push_back(*vocab.bos);
  if (vocab.add_sep.value_or(named->add_sep) && vocab.sep) {
    parts.suffix_ids.push_back(*vocab.sep);
  } else if (vocab.add_eos.value_or(false) && vocab.eos) {
    parts.suffix_ids.push_back(*vocab.eos);
  }
  parts.kind = "byte-level BPE (" + std::string(name) + ")";
  return OkStatus();
}

Status LoadSpm(const io::GgufMetadata& metadata, GgufVocab vocab, bool unigram,
               TokenizerParts& parts) {
  SentencePieceSpec spec;
  spec.texts.assign(vocab.texts.begin(), vocab.texts.end());
  spec.scores.assign(vocab.scores.begin(), vocab.scores.end());
  spec.scores.resize(spec.texts.size(), 0.0f);
  spec.types = std::move(vocab.types);
  spec.unigram = unigram;
  spec.byte_fallback = true;  // wherever the vocabulary has the byte pieces
  spec.user_defined_as_added = true;
  spec.unk_id = vocab.unk ? *vocab.unk : unigram ? 2 : 0;
  if (spec.unk_id >= static_cast<int32_t>(spec.texts.size())) spec.unk_id = -1;
  spec.normalizer.add_dummy_prefix = vocab.add_space_prefix.value_or(true);
  spec.normalizer.remove_extra_whitespaces = vocab.remove_extra_whitespaces.value_or(false);
  RILL_ASSIGN_OR_RETURN(const auto charsmap,
                        metadata.GetInts("tokenizer.ggml.precompiled_charsmap"));
  if (charsmap && !charsmap->empty()) {
    std::string blob;
    blob.reserve(charsmap->size());
    for (const int64_t byte : *charsmap) blob += static_cast<char>(byte);
    RILL_ASSIGN_OR_RETURN(spec.normalizer.charsmap, Charsmap::Parse(std::move(blob)));
  }
  RILL_RETURN_IF_ERROR(BuildSentencePiece(std::move(spec), parts));
  const auto default_id = [&](int32_t id) {
    return id < parts.vocab->size() ? std::optional(id) : std::nullopt;
  };
  if (!vocab.bos && !unigram) vocab.bos = default_id(1);
  if (!vocab.eos) vocab.eos = default_id(unigram ? 1 : 2);
  if (vocab.add_bos.value_or(!unigram) && vocab.bos) parts.prefix_ids.push_back(*vocab.bos);
  if (vocab.add_eos.value_or(unigram) && vocab.eos) parts.suffix_ids.push_back(*vocab.eos);
  parts.bos_id = vocab.bos;
  parts.eos_id = vocab.eos;
  parts.kind = unigram ? "SentencePiece unigram (GGUF)" : "SentencePiece BPE (GGUF)";
  return OkStatus();
}

// GGUF writes word pieces the other way round: "▁" marks a word's start instead of "##" its inside.
Status LoadBert(const io::GgufMetadata& metadata, const GgufVocab& vocab, TokenizerParts& parts) {
  constexpr std::string_view kWordStart = "\xE2\x96\x81";
  std::vector<std::string> texts;
  texts.reserve(vocab.texts.size());
  for (size_t i = 0; i < vocab.texts.size(); ++i) {
    const std::string_view text = vocab.texts[i];
    if (text.starts_with(kWordStart)) {
      texts.emplace_back(text.substr(kWordStart.size()));
    } else if (vocab.types[i] != SpmPieceType::kNormal ||
               (text.starts_with('[') && text.ends_with(']') && text.size() > 2)) {
      texts.emplace_back(text);
    } else {
      texts.push_back("##" + std::string(text));
    }
  }
  std::vector<std::string_view> views(texts.begin(), texts.end());
  parts.vocab = std::make_unique<Vocab>();
  RILL_RETURN_IF_ERROR(CopyTexts(views, *parts.vocab));
  WordPieceOptions options;
  options.unk_id = vocab.unk.value_or(parts.vocab->Find("[UNK]"));
  parts.model = MakeWordPiece(*parts.vocab, std::move(options));
  NormalizerStep normalizer;
  normalizer.kind = NormalizerStep::Kind::kBert;
  RILL_ASSIGN_OR_RETURN(const auto lowercase,
                        metadata.GetBool("tokenizer.ggml.normalizer.lowercase"));
  normalizer.lowercase = lowercase.value_or(true);
  normalizer.strip_accents = normalizer.lowercase;
  std::vector<NormalizerStep> normalizers;
  normalizers.push_back(std::move(normalizer));
  parts.normalizer = Normalizer(std::move(normalizers));
  PreTokenizerStep split;
  split.kind = PreTokenizerStep::Kind::kSplitRunes;
  split.behavior = SplitBehavior::kRemoved;
  std::vector<PreTokenizerStep> steps = {split};
  split.rune_class = PreTokenizerStep::RuneClass::kPunctuation;
  split.behavior = SplitBehavior::kIsolated;
  steps.push_back(split);
  parts.pre_tokenizer = PreTokenizer(std::move(steps));
  DecoderStep decoder;
  decoder.kind = DecoderStep::Kind::kWordPiece;
  decoder.content = "##";
  std::vector<DecoderStep> decoders;
  decoders.push_back(std::move(decoder));
  parts.decoder = TokenDecoder(std::move(decoders));
  AddDeclaredTokens(vocab, parts);
  const auto find = [&](std::string_view text) -> std::optional<int32_t> {
    const int32_t id = parts.vocab->Find(text);
    return id < 0 ? std::nullopt : std::optional(id);
  };
  const auto cls = vocab.cls ? vocab.cls : vocab.bos ? vocab.bos : find("[CLS]");
  const auto sep = vocab.sep ? vocab.sep : find("[SEP]");
  if (vocab.add_bos.value_or(true) && cls) parts.prefix_ids.push_back(*cls);
  if (vocab.add_sep.value_or(true) && sep) parts.suffix_ids.push_back(*sep);
  parts.bos_id = cls;
  parts.kind = "WordPiece (GGUF)";
  return OkStatus();
}

Status Load(const io::GgufMetadata& metadata, TokenizerParts& parts) {
  RILL_ASSIGN_OR_RETURN(const auto model, metadata.GetString("tokenizer.ggml.model"));
  if (!model) return NotFound("tokenizer.ggml.model is missing: the file has no tokenizer");
  const Reader reader(metadata);
  RILL_ASSIGN_OR_RETURN(GgufVocab vocab, reader.Vocab());
  const size_t count = vocab.texts.size();
  parts.bos_id = vocab.bos;
  parts.eos_id = vocab.eos;
  if (*model == "gpt2") {
    RILL_RETURN_IF_ERROR(LoadBpe(metadata, vocab, parts));
  } else if (*model == "llama" || *model == "t5") {
    RILL_RETURN_IF_ERROR(LoadSpm(metadata, std::move(vocab), *model == "t5", parts));
  } else if (*model == "bert") {
    RILL_RETURN_IF_ERROR(LoadBert(metadata, vocab, parts));
  } else {
    return Unsupported("tokenizer.ggml.model \"" + PrintableUtf8(*model, 40) +
                       "\": expected gpt2, llama, bert or t5");
  }
  for (const std::string_view key : {"eot_token_id", "eom_token_id"}) {
    RILL_ASSIGN_OR_RETURN(const auto id, reader.Id(key, count));
    if (id) parts.stop_ids.push_back(*id);
  }
  return OkStatus();
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> LoadGgufTokenizer(const io::GgufMetadata& metadata,
                                                           std::string_view culprit,
                                                           const TokenizerSideFiles& side) {
  TokenizerParts parts;
  if (Status status = Load(metadata, parts); !status.ok()) return status.WithPrefix(culprit);
  ApplySideFiles(side, parts);
  auto tokenizer = MakePipelineTokenizer(std::move(parts));
  if (!tokenizer.ok()) return tokenizer.status().WithPrefix(culprit);
  return tokenizer;
}

}  // namespace rill::text
