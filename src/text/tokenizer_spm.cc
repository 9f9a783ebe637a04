// tokenizer.model: a SentencePiece model file.

#include "base/utf8.h"
#include "text/sentencepiece.h"
#include "text/sentencepiece_proto.h"
#include "text/tokenizer_files.h"

namespace rill::text {
namespace {

Status Load(std::string_view bytes, const TokenizerSideFiles& side, TokenizerParts& parts) {
  RILL_ASSIGN_OR_RETURN(const SentencePieceProto proto, ParseSentencePieceProto(bytes));
  if (proto.model_type != 1 && proto.model_type != 2) {
    return Unsupported("sentencepiece model type " + std::to_string(proto.model_type) +
                       ": expected 1 (unigram) or 2 (BPE)");
  }
  SentencePieceSpec spec;
  spec.unk_id = -1;
  for (const SentencePieceProto::Piece& piece : proto.pieces) {
    auto type = static_cast<SpmPieceType>(piece.type);
    // As SentencePiece does: with byte fallback a NUL character comes from its byte piece.
    if (type == SpmPieceType::kNormal && proto.byte_fallback &&
        piece.text == std::string_view("\0", 1)) {
      type = SpmPieceType::kUnused;
    }
    if (type == SpmPieceType::kUnknown && spec.unk_id < 0) {
      spec.unk_id = static_cast<int32_t>(spec.texts.size());
    }
    spec.texts.push_back(piece.text);
    spec.scores.push_back(piece.score);
    spec.types.push_back(type);
  }
  if (spec.unk_id < 0) return InvalidArgument("sentencepiece model: no unknown piece");
  spec.unigram = proto.model_type == 1;
  spec.byte_fallback = proto.byte_fallback;
  spec.unk_surface = proto.unk_surface;
  spec.normalizer.add_dummy_prefix = proto.add_dummy_prefix;
  spec.normalizer.remove_extra_whitespaces = proto.remove_extra_whitespaces;
  spec.normalizer.escape_whitespaces = proto.escape_whitespaces;
  spec.normalizer.whitespace_as_suffix = proto.whitespace_as_suffix;
  if (!proto.charsmap.empty()) {
    RILL_ASSIGN_OR_RETURN(spec.normalizer.charsmap, Charsmap::Parse(std::string(proto.charsmap)));
  }
  const bool unigram = spec.unigram;
  const std::vector<SpmPieceType> types = spec.types;
  RILL_RETURN_IF_ERROR(BuildSentencePiece(std::move(spec), parts));
  const auto control = [&](std::string_view text) -> std::optional<int32_t> {
    const int32_t id = parts.vocab->Find(text);
    if (id < 0 || types[static_cast<size_t>(id)] != SpmPieceType::kControl) return std::nullopt;
    return id;
  };
  parts.bos_id = control(proto.bos_piece);
  parts.eos_id = control(proto.eos_piece);
  // The file does not say what goes around a text. tokenizer_config.json may; otherwise a text
  // starts with BOS where there is one (Llama), and else a unigram text ends with EOS (T5).
  RILL_ASSIGN_OR_RETURN(const bool add_bos,
                        side.tokenizer_config.GetBool("add_bos_token", parts.bos_id.has_value()));
  RILL_ASSIGN_OR_RETURN(
      const bool add_eos,
      side.tokenizer_config.GetBool("add_eos_token", !parts.bos_id.has_value() && unigram));
  if (add_bos && parts.bos_id) parts.prefix_ids.push_back(*parts.bos_id);
  if (add_eos && parts.eos_id) parts.suffix_ids.push_back(*parts.eos_id);
  parts.kind = unigram ? "SentencePiece unigram" : "SentencePiece BPE";
  return OkStatus();
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> LoadSentencePiece(std::string_view bytes,
                                                           std::string_view culprit,
                                                           const TokenizerSideFiles& side) {
  TokenizerParts parts;
  if (Status status = Load(bytes, side, parts); !status.ok()) return status.WithPrefix(culprit);
  ApplySideFiles(side, parts);
  auto tokenizer = MakePipelineTokenizer(std::move(parts));
  if (!tokenizer.ok()) return tokenizer.status().WithPrefix(culprit);
  return tokenizer;
}

}  // namespace rill::text
