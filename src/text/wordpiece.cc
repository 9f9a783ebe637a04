#include "text/wordpiece.h"

#include "text/rune_scan.h"

namespace rill::text {
namespace {

class WordPiece final : public TokenModel {
 public:
  WordPiece(const Vocab& vocab, WordPieceOptions options) : options_(std::move(options)) {
    for (int32_t id = 0; id < vocab.size(); ++id) {
      const std::string_view text = vocab.text(id);
      if (text.empty() || vocab.FindOwn(text) != id) continue;
      first_.Insert(text, id);
      if (text.starts_with(options_.continuing_prefix)) {
        const std::string_view rest = text.substr(options_.continuing_prefix.size());
        if (!rest.empty()) later_.Insert(rest, id);
      }
    }
  }

  void Encode(std::string_view piece, std::vector<int32_t>& out) const override {
    size_t runes = 0;
    for (size_t pos = 0; pos < piece.size(); pos += ScanRune(piece, pos).size) ++runes;
    const size_t old_size = out.size();
    bool known = runes <= options_.max_word_runes;
    for (size_t pos = 0; known && pos < piece.size();) {
      const ByteTrie& trie = pos == 0 ? first_ : later_;
      int32_t node = 0;
      int32_t id = -1;
      size_t end = pos;
      for (size_t i = pos; i < piece.size(); ++i) {
        node = trie.Step(node, static_cast<unsigned char>(piece[i]));
        if (node < 0) break;
        // Only at character borders: a vocabulary entry may end inside one.
        const bool border =
            i + 1 == piece.size() || (static_cast<unsigned char>(piece[i + 1]) & 0xC0) != 0x80;
        if (border && trie.id(node) >= 0) {
          id = trie.id(node);
          end = i + 1;
        }
      }
      known = id >= 0;
      if (known) out.push_back(id);
      pos = end;
    }
    if (!known) {
      out.resize(old_size);
      if (options_.unk_id >= 0) out.push_back(options_.unk_id);
    }
  }

 private:
  WordPieceOptions options_;
  ByteTrie first_;
  ByteTrie later_;
};

class WordLevel final : public TokenModel {
 public:
  WordLevel(const Vocab& vocab, int32_t unk_id) : vocab_(vocab), unk_id_(unk_id) {}
  void Encode(std::string_view piece, std::vector<int32_t>& out) const override {
    const int32_t id = vocab_.FindOwn(piece);
    if (id >= 0) {
      out.push_back(id);
    } else if (unk_id_ >= 0) {
      out.push_back(unk_id_);
    }
  }

 private:
  const Vocab& vocab_;
  int32_t unk_id_;
};

}  // namespace

std::unique_ptr<TokenModel> MakeWordPiece(const Vocab& vocab, WordPieceOptions options) {
  return std::make_unique<WordPiece>(vocab, std::move(options));
}

std::unique_ptr<TokenModel> MakeWordLevel(const Vocab& vocab, int32_t unk_id) {
  return std::make_unique<WordLevel>(vocab, unk_id);
}

}  // namespace rill::text
