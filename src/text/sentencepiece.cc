#include "text/sentencepiece.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/utf8.h"
#include "text/bpe.h"
#include "text/unigram.h"

namespace rill::text {
namespace {

// Only pieces of these types can come out of merging or searching.
bool IsOrdinary(SpmPieceType type) {
  return type == SpmPieceType::kNormal || type == SpmPieceType::kUserDefined ||
         type == SpmPieceType::kUnused;
}

// Ranks by score: the highest is 0, equal scores are equal.
std::vector<uint32_t> RanksOf(const SentencePieceSpec& spec) {
  std::vector<uint32_t> order;
  order.reserve(spec.texts.size());
  for (uint32_t id = 0; id < spec.texts.size(); ++id) {
    if (IsOrdinary(spec.types[id])) order.push_back(id);
  }
  const auto higher = [&](uint32_t a, uint32_t b) { return spec.scores[a] > spec.scores[b]; };
  // Vocabularies usually stand in score order already.
  if (!std::is_sorted(order.begin(), order.end(), higher)) {
    std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
      return spec.scores[a] != spec.scores[b] ? spec.scores[a] > spec.scores[b] : a < b;
    });
  }
  std::vector<uint32_t> rank(spec.texts.size(), kNotMergeable);
  uint32_t next = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i > 0 && spec.scores[order[i]] != spec.scores[order[i - 1]]) ++next;
    rank[order[i]] = next;
  }
  return rank;
}

Status CheckPieces(const SentencePieceSpec& spec) {
  if (spec.texts.empty()) return InvalidArgument("the vocabulary is empty");
  if (spec.texts.size() > static_cast<size_t>(kMaxVocabSize)) {
    return ResourceExhausted("vocabulary of " + std::to_string(spec.texts.size()) +
                             " pieces, limit " + std::to_string(kMaxVocabSize));
  }
  for (size_t id = 0; id < spec.texts.size(); ++id) {
    if (std::isnan(spec.scores[id])) {
      return InvalidArgument("piece " + std::to_string(id) + " \"" +
                             PrintableUtf8(spec.texts[id], 40) + "\": the score is NaN");
    }
    if (spec.types[id] == SpmPieceType::kByte && ParseByteToken(spec.texts[id]) < 0) {
      return InvalidArgument("piece " + std::to_string(id) + ": expected <0x00> … <0xFF>, got \"" +
                             PrintableUtf8(spec.texts[id], 40) + "\"");
    }
  }
  return OkStatus();
}

Status MakeModel(const SentencePieceSpec& spec, const ByteTrie& user_defined,
                 TokenizerParts& parts) {
  const size_t count = spec.texts.size();
  if (!spec.unigram) {
    SpmBpeOptions options;
    options.rank = RanksOf(spec);
    options.unused.assign(count, false);
    for (size_t id = 0; id < count; ++id) {
      options.unused[id] = spec.types[id] == SpmPieceType::kUnused;
    }
    options.user_defined = user_defined;
    options.unk_id = spec.unk_id;
    options.byte_fallback = spec.byte_fallback;
    parts.model = MakeSpmBpe(*parts.vocab, std::move(options));
    return OkStatus();
  }
  UnigramOptions options;
  options.scores.assign(spec.scores.begin(), spec.scores.end());
  options.active.assign(count, false);
  options.user_defined.assign(count, false);
  options.min_score = std::numeric_limits<float>::max();
  options.max_score = std::numeric_limits<float>::lowest();
  for (size_t id = 0; id < count; ++id) {
    const bool normal = spec.types[id] == SpmPieceType::kNormal;
    const bool user = spec.types[id] == SpmPieceType::kUserDefined;
    options.active[id] = normal || user;
    options.user_defined[id] = user;
    if (!normal) continue;
    options.min_score = std::min(options.min_score, options.scores[id]);
    options.max_score = std::max(options.max_score, options.scores[id]);
  }
  options.unk_id = spec.unk_id;
  options.byte_fallback = spec.byte_fallback;
  options.single_precision = true;
  RILL_ASSIGN_OR_RETURN(parts.model, MakeUnigram(*parts.vocab, std::move(options)));
  return OkStatus();
}

}  // namespace

Status BuildSentencePiece(SentencePieceSpec spec, TokenizerParts& parts) {
  RILL_RETURN_IF_ERROR(CheckPieces(spec));
  const size_t count = spec.texts.size();
  parts.vocab = std::make_unique<Vocab>();
  size_t bytes = 0;
  for (const std::string_view text : spec.texts) bytes += text.size();
  parts.vocab->Reserve(count, bytes);
  auto user_defined = std::make_shared<ByteTrie>();
  for (size_t i = 0; i < count; ++i) {
    const auto id = static_cast<int32_t>(i);
    RILL_RETURN_IF_ERROR(parts.vocab->Add(id, spec.texts[i]));
    const SpmPieceType type = spec.types[i];
    if (type == SpmPieceType::kControl || type == SpmPieceType::kUnknown ||
        (type == SpmPieceType::kUserDefined && spec.user_defined_as_added)) {
      AddedToken token;
      token.id = id;
      token.text = spec.texts[i];
      token.special = type != SpmPieceType::kUserDefined;
      parts.added.push_back(std::move(token));
    } else if (type == SpmPieceType::kUserDefined && !spec.texts[i].empty()) {
      if (spec.texts[i].size() > kMaxUnigramTokenBytes) {
        return ResourceExhausted("user-defined piece " + std::to_string(id) + " has " +
                                 std::to_string(spec.texts[i].size()) + " bytes, limit " +
                                 std::to_string(kMaxUnigramTokenBytes));
      }
      user_defined->Insert(spec.texts[i], id);
    }
  }
  if (spec.unk_id >= static_cast<int32_t>(count)) {
    return InvalidArgument("unknown id " + std::to_string(spec.unk_id) +
                           ": expected less than the vocabulary's " + std::to_string(count));
  }
  RILL_RETURN_IF_ERROR(MakeModel(spec, *user_defined, parts));
  DecoderStep decoder;
  decoder.kind = DecoderStep::Kind::kSentencePiece;
  decoder.content = spec.unk_surface;
  decoder.piece_types = std::move(spec.types);
  decoder.strip_leading_space =
      spec.normalizer.add_dummy_prefix || spec.normalizer.remove_extra_whitespaces;
  decoder.strip_all_leading_space = spec.normalizer.remove_extra_whitespaces;
  spec.normalizer.kind = NormalizerStep::Kind::kSentencePiece;
  if (!user_defined->empty()) spec.normalizer.user_defined = std::move(user_defined);
  std::vector<NormalizerStep> normalizer;
  normalizer.push_back(std::move(spec.normalizer));
  parts.normalizer = Normalizer(std::move(normalizer));
  std::vector<DecoderStep> decoders;
  decoders.push_back(std::move(decoder));
  parts.decoder = TokenDecoder(std::move(decoders));
  return OkStatus();
}

}  // namespace rill::text
