#include "text/tokenizer_pipeline.h"

#include <algorithm>
#include <unordered_map>

#include "base/utf8.h"

namespace rill::text {
namespace {

// A longer piece is cut at a character border: bounds the memory of one merge. No released
// tokenizer's piece of ordinary text comes near it.
constexpr size_t kMaxPieceBytes = 16u << 20;

// Tokens that end a turn or an answer in released models. They stop generation when they are
// control tokens of the vocabulary at hand.
constexpr std::string_view kEndOfTurn[] = {
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<end_of_turn>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot|>",
    "<|end_of_turn|>",
    "<turn|>",
    "<|END_OF_TURN_TOKEN|>",
    "<|return|>",
    "<|endofprompt|>",
    "<EOT>",
    "_<EOT>",
    "<|end_of_sentence|>",
    "<end_of_utterance>",
    "<\xEF\xBD\x9C"
    "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
};

// Control tokens only where every byte is trusted. `origin` maps bytes of a normalized text to the
// marked text; null: they are the same.
struct TrustFilter {
  const MarkedText& text;
  const std::vector<Origin>* origin;
  size_t base = 0;  // where the searched text begins in the marked text, without `origin`

  bool operator()(const AddedToken& token, size_t begin, size_t end) const {
    if (!token.special) return true;
    size_t first = base + begin;
    size_t last = base + end - 1;
    if (origin) {
      first = (*origin)[begin].first;
      last = (*origin)[begin].last;
      for (size_t i = begin + 1; i < end; ++i) {
        first = std::min(first, (*origin)[i].first);
        last = std::max(last, (*origin)[i].last);
      }
    }
    const auto run =
        std::upper_bound(text.trusted.begin(), text.trusted.end(), first,
                         [](size_t value, const TextRun& r) { return value < r.begin; });
    return run != text.trusted.begin() && last < std::prev(run)->end;
  }
};

class PipelineTokenizer final : public Tokenizer {
 public:
  explicit PipelineTokenizer(TokenizerParts parts) : parts_(std::move(parts)) {}

  Status Init() {
    const auto count = static_cast<size_t>(parts_.vocab->size());
    special_.assign(count, false);
    for (const AddedToken& token : parts_.added) {
      const bool control = token.special || LooksLikeControl(token.text);
      if (token.special) RILL_RETURN_IF_ERROR(MarkSpecial(token.id));
      AddedToken copy = token;
      copy.special = control;
      if (token.normalized) {  // after the others, also where no normalizer is
        const NormalizedText pattern = parts_.normalizer.Run(token.text, false);
        RILL_RETURN_IF_ERROR(normalized_.Add(copy, pattern.text));
        // The Hugging Face library decodes such a token to its normalized text, too.
        if (pattern.text != token.text) decoder_texts_[token.id] = pattern.text;
        track_ = track_ || control;
      } else {
        RILL_RETURN_IF_ERROR(raw_.Add(copy, token.text));
      }
    }
    for (const PreTokenizerStep& step : parts_.pre_tokenizer.steps()) {
      track_start_ = track_start_ ||
                     (step.kind == PreTokenizerStep::Kind::kMetaspace &&
                      step.prepend_scheme == PrependScheme::kFirst && !parts_.normalizer.empty());
    }
    for (const int32_t id : parts_.control_ids) RILL_RETURN_IF_ERROR(MarkSpecial(id));
    for (const auto* ids : {&parts_.prefix_ids, &parts_.suffix_ids, &parts_.stop_ids}) {
      for (const int32_t id : *ids) RILL_RETURN_IF_ERROR(CheckId(id));
    }
    if (parts_.bos_id) RILL_RETURN_IF_ERROR(CheckId(*parts_.bos_id));
    if (parts_.eos_id) RILL_RETURN_IF_ERROR(CheckId(*parts_.eos_id));
    bos_id_ = parts_.bos_id;
    eos_id_ = parts_.eos_id;
    stop_ids_ = parts_.stop_ids;
    if (eos_id_) stop_ids_.push_back(*eos_id_);
    for (const std::string_view text : kEndOfTurn) {
      const int32_t id = parts_.vocab->Find(text);
      if (id >= 0 && special_[static_cast<size_t>(id)]) stop_ids_.push_back(id);
    }
    std::sort(stop_ids_.begin(), stop_ids_.end());
    stop_ids_.erase(std::unique(stop_ids_.begin(), stop_ids_.end()), stop_ids_.end());
    return OkStatus();
  }

  int32_t vocab_size() const override { return parts_.vocab->size(); }
  std::string_view kind() const override { return parts_.kind; }
  std::string TokenText(int32_t id) const override { return std::string(parts_.vocab->text(id)); }
  std::string TokenBytes(int32_t id) const override {
    if (!parts_.vocab->Has(id)) return {};
    return parts_.decoder.TokenBytes(id, parts_.vocab->text(id));
  }
  bool IsSpecial(int32_t id) const override {
    return id >= 0 && id < vocab_size() && special_[static_cast<size_t>(id)];
  }
  std::optional<int32_t> FindToken(std::string_view token_text) const override {
    const int32_t id = parts_.vocab->Find(token_text);
    return id < 0 ? std::nullopt : std::optional(id);
  }

 protected:
  void EncodeTo(const MarkedText& text, bool add_special,
                std::vector<int32_t>& out) const override {
    if (add_special) {
      out.insert(out.end(), parts_.prefix_ids.begin(), parts_.prefix_ids.end());
    }
    // Without added tokens in its way, the text is one segment.
    std::vector<TokenMatch> matches;
    if (!raw_.empty()) {
      raw_.Find(text.text, TrustFilter{text, nullptr, 0}, matches);
    }
    PieceList pieces;
    size_t done = 0;
    for (const TokenMatch& match : matches) {
      EncodeSegment(text, done, match.begin, pieces, out);
      out.push_back(match.id);
      done = match.end;
    }
    EncodeSegment(text, done, text.text.size(), pieces, out);
    if (add_special) {
      out.insert(out.end(), parts_.suffix_ids.begin(), parts_.suffix_ids.end());
    }
  }
  std::unique_ptr<DecodeStream> StartDecoding() const override { return parts_.decoder.Start(); }
  std::optional<std::string_view> DecoderText(int32_t id) const override {
    if (!parts_.vocab->Has(id)) return std::nullopt;
    if (!decoder_texts_.empty()) {
      const auto it = decoder_texts_.find(id);
      if (it != decoder_texts_.end()) return it->second;
    }
    return parts_.vocab->text(id);
  }

 private:
  Status CheckId(int32_t id) const {
    if (id >= 0 && id < parts_.vocab->size()) return OkStatus();
    return InvalidArgument("special token id " + std::to_string(id) +
                           ": expected less than the vocabulary's " +
                           std::to_string(parts_.vocab->size()));
  }
  Status MarkSpecial(int32_t id) {
    RILL_RETURN_IF_ERROR(CheckId(id));
    special_[static_cast<size_t>(id)] = true;
    return OkStatus();
  }

  void EncodeSegment(const MarkedText& text, size_t begin, size_t end, PieceList& pieces,
                     std::vector<int32_t>& out) const {
    if (begin >= end) return;
    const std::string_view raw = std::string_view(text.text).substr(begin, end - begin);
    if (parts_.normalizer.empty() && normalized_.empty()) {
      EncodePieces(raw, begin == 0, pieces, out);
      return;
    }
    NormalizedText normal;
    std::string_view found = raw;
    if (!parts_.normalizer.empty()) {
      normal = parts_.normalizer.Run(raw, track_ || track_start_);
      found = normal.text;
    }
    for (Origin& at : normal.origin) {
      at.first += begin;
      if (at.last != Origin::kNowhere) at.last += begin;
    }
    // A piece starts the text when its first character was the text's first.
    const auto at_start = [&](size_t pos) {
      if (normal.origin.empty()) return begin == 0 && pos == 0;
      return pos < normal.origin.size() && normal.origin[pos].first == 0;
    };
    std::vector<TokenMatch> matches;
    if (!normalized_.empty()) {
      const auto* origin = normal.origin.empty() ? nullptr : &normal.origin;
      normalized_.Find(found, TrustFilter{text, origin, begin}, matches);
    }
    size_t done = 0;
    for (const TokenMatch& match : matches) {
      if (match.begin > done) {
        EncodePieces(found.substr(done, match.begin - done), at_start(done), pieces, out);
      }
      out.push_back(match.id);
      done = match.end;
    }
    EncodePieces(found.substr(done), at_start(done), pieces, out);
  }

  void EncodePieces(std::string_view text, bool at_start, PieceList& pieces,
                    std::vector<int32_t>& out) const {
    if (text.empty()) return;
    parts_.pre_tokenizer.Run(text, at_start, pieces);
    for (const auto& [begin, end] : pieces.ranges) {
      std::string_view piece = pieces.text.substr(begin, end - begin);
      while (piece.size() > kMaxPieceBytes) {
        const size_t cut = kMaxPieceBytes - IncompleteUtf8Suffix(piece.substr(0, kMaxPieceBytes));
        parts_.model->Encode(piece.substr(0, cut), out);
        piece.remove_prefix(cut);
      }
      if (!piece.empty()) parts_.model->Encode(piece, out);
    }
  }

  TokenizerParts parts_;
  AddedTokenMatcher raw_;
  AddedTokenMatcher normalized_;
  bool track_ = false;        // some control token is sought in normalized text
  bool track_start_ = false;  // some step asks whether a piece starts the text
  std::vector<bool> special_;
  std::unordered_map<int32_t, std::string> decoder_texts_;  // where not the vocabulary's
};

}  // namespace

Result<std::shared_ptr<const Tokenizer>> MakePipelineTokenizer(TokenizerParts parts) {
  auto tokenizer = std::make_shared<PipelineTokenizer>(std::move(parts));
  RILL_RETURN_IF_ERROR(tokenizer->Init());
  return std::shared_ptr<const Tokenizer>(tokenizer);
}

}  // namespace rill::text
