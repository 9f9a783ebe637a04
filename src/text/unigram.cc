#include "text/unigram.h"

#include <algorithm>
#include <cmath>

#include "base/utf8.h"
#include "text/rune_scan.h"

namespace rill::text {
namespace {

constexpr double kUnknownPenalty = 10.0;

class Unigram final : public TokenModel {
 public:
  Unigram(const Vocab& vocab, UnigramOptions options)
      : vocab_(vocab), options_(std::move(options)), byte_tokens_(FindByteTokens(vocab)) {
    for (int32_t id = 0; id < vocab.size(); ++id) {
      const auto index = static_cast<size_t>(id);
      if (options_.active[index] && !vocab.text(id).empty() &&
          vocab.FindOwn(vocab.text(id)) == id) {
        trie_.Insert(vocab.text(id), id);
      }
    }
    has_user_defined_ = std::find(options_.user_defined.begin(), options_.user_defined.end(),
                                  true) != options_.user_defined.end();
  }

  void Encode(std::string_view piece, std::vector<int32_t>& out) const override {
    std::vector<Node> best(piece.size() + 1);
    if (options_.single_precision) {
      Search<true>(piece, best);
    } else {
      Search<false>(piece, best);
    }
    std::vector<size_t> ends;
    for (size_t end = piece.size(); end > 0; end = best[end].start) ends.push_back(end);
    for (size_t i = ends.size(); i-- > 0;) {
      const Node& node = best[ends[i]];
      if (node.id != kUnknown) {
        out.push_back(node.id);
        continue;
      }
      // A run of unknown characters is one unknown token.
      size_t end = ends[i];
      while (i > 0 && best[ends[i - 1]].id == kUnknown) end = ends[--i];
      EmitUnknown(piece.substr(node.start, end - node.start), out);
    }
  }

 private:
  static constexpr int32_t kUnknown = -1;
  static constexpr uint32_t kNoStart = ~uint32_t{0};
  struct Node {
    double score = 0;
    uint32_t start = kNoStart;
    int32_t id = kUnknown;
  };

  template <bool kSingle>
  void Search(std::string_view piece, std::vector<Node>& best) const {
    const double unknown_score = kSingle
                                     ? static_cast<double>(static_cast<float>(options_.min_score) -
                                                           static_cast<float>(kUnknownPenalty))
                                     : options_.min_score - kUnknownPenalty;
    const auto offer = [&](size_t start, size_t end, double score, int32_t id) {
      Node& node = best[end];
      // Rounded before it is compared: equal paths are common ("0"+"00", "00"+"0"), first wins.
      if (kSingle) score = static_cast<double>(static_cast<float>(score));
      if (node.start != kNoStart && score <= node.score) return;
      node.score = score;
      node.start = static_cast<uint32_t>(start);
      node.id = id;
    };
    for (size_t start = 0; start < piece.size();) {
      const double so_far = best[start].score;
      const size_t rune_bytes = ScanRune(piece, start).size;
      bool has_single = false;
      int32_t node = 0;
      for (size_t i = start; i < piece.size(); ++i) {
        node = trie_.Step(node, static_cast<unsigned char>(piece[i]));
        if (node < 0) break;
        const int32_t id = trie_.id(node);
        if (id < 0) continue;
        const size_t length = i + 1 - start;
        double score = options_.scores[static_cast<size_t>(id)];
        if (has_user_defined_ && options_.user_defined[static_cast<size_t>(id)]) {
          const double all = static_cast<double>(length) * options_.max_score;
          score = (kSingle ? static_cast<double>(static_cast<float>(all)) : all) - 0.1;
        }
        offer(start, i + 1, score + so_far, id);
        has_single = has_single || length == rune_bytes;
      }
      if (!has_single) {
        const double score = kSingle ? static_cast<double>(static_cast<float>(unknown_score) +
                                                           static_cast<float>(so_far))
                                     : unknown_score + so_far;
        offer(start, start + rune_bytes, score, kUnknown);
      }
      start += rune_bytes;
    }
  }

  void EmitUnknown(std::string_view text, std::vector<int32_t>& out) const {
    if (options_.look_up_unknown_runs) {
      const int32_t id = vocab_.FindOwn(text);
      if (id >= 0) {
        out.push_back(id);
        return;
      }
    }
    if (options_.byte_fallback) {
      bool all = true;
      for (const char c : text) all = all && byte_tokens_[static_cast<unsigned char>(c)] >= 0;
      if (all) {
        for (const char c : text) out.push_back(byte_tokens_[static_cast<unsigned char>(c)]);
        return;
      }
    }
    if (options_.unk_id >= 0) out.push_back(options_.unk_id);
  }

  const Vocab& vocab_;
  UnigramOptions options_;
  std::vector<int32_t> byte_tokens_;
  ByteTrie trie_;
  bool has_user_defined_ = false;
};

}  // namespace

Result<std::unique_ptr<TokenModel>> MakeUnigram(const Vocab& vocab, UnigramOptions options) {
  for (int32_t id = 0; id < vocab.size(); ++id) {
    const auto index = static_cast<size_t>(id);
    if (!options.active[index]) continue;
    const std::string_view text = vocab.text(id);
    if (!std::isfinite(options.scores[index])) {
      return InvalidArgument("token " + std::to_string(id) + " \"" + PrintableUtf8(text, 40) +
                             "\": expected a finite score, got " +
                             std::to_string(options.scores[index]));
    }
    if (text.size() > kMaxUnigramTokenBytes) {
      return ResourceExhausted("token " + std::to_string(id) + " has " +
                               std::to_string(text.size()) + " bytes, limit " +
                               std::to_string(kMaxUnigramTokenBytes));
    }
  }
  return std::unique_ptr<TokenModel>(std::make_unique<Unigram>(vocab, std::move(options)));
}

}  // namespace rill::text
