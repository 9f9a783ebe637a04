#include "text/bpe.h"

#include <array>
#include <unordered_map>

#include "base/utf8.h"
#include "text/bpe_merge.h"
#include "text/byte_alphabet.h"
#include "text/rune_scan.h"

namespace rill::text {
namespace {

class Bpe final : public TokenModel {
 public:
  Bpe(const Vocab& vocab, BpeMerges merges, BpeOptions options)
      : vocab_(vocab), merges_(std::move(merges)), options_(std::move(options)) {
    byte_tokens_ = FindByteTokens(vocab);
    if (!options_.raw_bytes) return;
    for (size_t b = 0; b < 256; ++b) {
      std::string stand_in;
      AppendUtf8(stand_in, ByteToRune(static_cast<unsigned char>(b)));
      raw_byte_ids_[b] = vocab.FindOwn(stand_in);
    }
    if (options_.ignore_merges) IndexRawTexts();
  }

  void Encode(std::string_view piece, std::vector<int32_t>& out) const override {
    if (options_.ignore_merges) {
      const int32_t whole = options_.raw_bytes ? raw_texts_.Find(piece) : vocab_.FindOwn(piece);
      if (whole >= 0) {
        out.push_back(whole);
        return;
      }
    }
    std::vector<BpeSymbol>& symbols = ThreadSymbols();
    symbols.clear();
    if (options_.raw_bytes) {
      StartFromBytes(piece, symbols);
    } else {
      StartFromRunes(piece, symbols);
    }
    MergeSymbols(symbols,
                 [this](const BpeSymbol& l, const BpeSymbol& r, uint32_t& rank, int32_t& merged) {
                   return merges_.Find(l.id, r.id, rank, merged);
                 });
    for (const BpeSymbol& s : symbols) {
      if (s.end > s.begin) out.push_back(s.id);
    }
    if (symbols.capacity() > kKeptSymbols) std::vector<BpeSymbol>().swap(symbols);
  }

 private:
  static constexpr size_t kKeptSymbols = 1 << 16;
  static std::vector<BpeSymbol>& ThreadSymbols() {
    static thread_local std::vector<BpeSymbol> symbols;
    return symbols;
  }

  void IndexRawTexts() {
    size_t total = 0;
    for (int32_t id = 0; id < vocab_.size(); ++id) total += vocab_.text(id).size();
    raw_arena_.reserve(total);
    raw_texts_.Reserve(vocab_.num_tokens());
    for (int32_t id = 0; id < vocab_.size(); ++id) {
      const size_t offset = raw_arena_.size();
      if (!vocab_.Has(id) || vocab_.IsAdded(id) ||
          !AppendFromByteLevel(raw_arena_, vocab_.text(id)))
        continue;
      raw_texts_.Insert(std::string_view(raw_arena_).substr(offset), id);
    }
  }

  void StartFromBytes(std::string_view piece, std::vector<BpeSymbol>& symbols) const {
    for (size_t i = 0; i < piece.size(); ++i) {
      const int32_t id = raw_byte_ids_[static_cast<unsigned char>(piece[i])];
      AddSymbol(id, i, i + 1, symbols);
    }
  }

  // A symbol without a token becomes unk or is left out.
  void AddSymbol(int32_t id, size_t begin, size_t end, std::vector<BpeSymbol>& symbols) const {
    if (id < 0) {
      if (options_.unk_id < 0) return;
      if (options_.fuse_unk && !symbols.empty() && symbols.back().id == options_.unk_id &&
          symbols.back().end == begin) {
        symbols.back().end = static_cast<uint32_t>(end);
        return;
      }
      id = options_.unk_id;
    }
    BpeSymbol symbol;
    symbol.id = id;
    symbol.begin = static_cast<uint32_t>(begin);
    symbol.end = static_cast<uint32_t>(end);
    symbols.push_back(symbol);
  }

  void StartFromRunes(std::string_view piece, std::vector<BpeSymbol>& symbols) const {
    std::string decorated;
    for (size_t pos = 0; pos < piece.size();) {
      const size_t size = ScanRune(piece, pos).size;
      const bool add_prefix = pos > 0 && !options_.continuing_prefix.empty();
      const bool add_suffix = pos + size == piece.size() && !options_.end_suffix.empty();
      std::string_view text = piece.substr(pos, size);
      if (add_prefix || add_suffix) {
        decorated = add_prefix ? options_.continuing_prefix : std::string();
        decorated += text;
        if (add_suffix) decorated += options_.end_suffix;
        text = decorated;
      }
      const int32_t id = vocab_.FindOwn(text);
      if (id < 0 && options_.byte_fallback && AddBytes(text, pos, size, symbols)) {
      } else {
        AddSymbol(id, pos, pos + size, symbols);
      }
      pos += size;
    }
  }

  // `text` is the character, with prefix and suffix when there are any.
  bool AddBytes(std::string_view text, size_t pos, size_t size,
                std::vector<BpeSymbol>& symbols) const {
    if (text.size() != size) return false;  // decorated words have no byte tokens in practice
    for (const char c : text) {
      if (byte_tokens_[static_cast<unsigned char>(c)] < 0) return false;
    }
    for (size_t i = 0; i < size; ++i) {
      AddSymbol(byte_tokens_[static_cast<unsigned char>(text[i])], pos + i, pos + i + 1, symbols);
    }
    return true;
  }

  const Vocab& vocab_;
  BpeMerges merges_;
  BpeOptions options_;
  std::vector<int32_t> byte_tokens_;
  std::array<int32_t, 256> raw_byte_ids_{};
  std::string raw_arena_;
  StringTable raw_texts_;
};

class ByteRankBpe final : public TokenModel {
 public:
  ByteRankBpe(const StringTable& keys, std::vector<uint32_t> rank, std::vector<int32_t> byte_ids)
      : keys_(keys), rank_(std::move(rank)), byte_ids_(std::move(byte_ids)) {}

  void Encode(std::string_view piece, std::vector<int32_t>& out) const override {
    const int32_t whole = keys_.Find(piece);
    if (whole >= 0) {
      out.push_back(whole);
      return;
    }
    std::vector<BpeSymbol> symbols;
    symbols.reserve(piece.size());
    for (size_t i = 0; i < piece.size(); ++i) {
      BpeSymbol symbol;
      symbol.id = byte_ids_[static_cast<unsigned char>(piece[i])];
      symbol.begin = static_cast<uint32_t>(i);
      symbol.end = static_cast<uint32_t>(i + 1);
      symbols.push_back(symbol);
    }
    MergeSymbols(symbols,
                 [&](const BpeSymbol& l, const BpeSymbol& r, uint32_t& rank, int32_t& merged) {
                   merged = keys_.Find(piece.substr(l.begin, r.end - l.begin));
                   if (merged < 0) return false;
                   rank = rank_[static_cast<size_t>(merged)];
                   return true;
                 });
    for (const BpeSymbol& s : symbols) {
      if (s.end > s.begin && s.id >= 0) out.push_back(s.id);
    }
  }

 private:
  const StringTable& keys_;
  std::vector<uint32_t> rank_;
  std::vector<int32_t> byte_ids_;
};

class SpmBpe final : public TokenModel {
 public:
  SpmBpe(const Vocab& vocab, SpmBpeOptions options)
      : vocab_(vocab), options_(std::move(options)), byte_tokens_(FindByteTokens(vocab)) {
    for (const bool u : options_.unused) has_unused_ = has_unused_ || u;
  }

  void Encode(std::string_view piece, std::vector<int32_t>& out) const override {
    std::vector<BpeSymbol> symbols;
    Start(piece, symbols);
    // Where an unused piece was put together, so that it can be taken apart again.
    std::unordered_map<int32_t, uint32_t> left_bytes;
    MergeSymbols(symbols,
                 [&](const BpeSymbol& l, const BpeSymbol& r, uint32_t& rank, int32_t& merged) {
                   if (l.frozen || r.frozen) return false;
                   merged = vocab_.Find(piece.substr(l.begin, r.end - l.begin));
                   if (merged < 0) return false;
                   rank = options_.rank[static_cast<size_t>(merged)];
                   if (rank == kNotMergeable) return false;
                   if (has_unused_ && options_.unused[static_cast<size_t>(merged)]) {
                     left_bytes[merged] = l.end - l.begin;
                   }
                   return true;
                 });
    bool after_unk = false;
    for (const BpeSymbol& s : symbols) {
      if (s.end > s.begin) Emit(piece.substr(s.begin, s.end - s.begin), left_bytes, after_unk, out);
    }
  }

 private:
  void Start(std::string_view piece, std::vector<BpeSymbol>& symbols) const {
    symbols.reserve(piece.size());
    for (size_t pos = 0; pos < piece.size();) {
      size_t size = UserDefined(piece, pos);
      BpeSymbol symbol;
      symbol.frozen = size > 0;
      if (size == 0) size = ScanRune(piece, pos).size;
      symbol.begin = static_cast<uint32_t>(pos);
      symbol.end = static_cast<uint32_t>(pos + size);
      symbols.push_back(symbol);
      pos += size;
    }
  }
  size_t UserDefined(std::string_view piece, size_t pos) const {
    if (options_.user_defined.empty()) return 0;
    size_t longest = 0;
    int32_t node = 0;
    for (size_t i = pos; i < piece.size(); ++i) {
      node = options_.user_defined.Step(node, static_cast<unsigned char>(piece[i]));
      if (node < 0) break;
      if (options_.user_defined.id(node) >= 0) longest = i + 1 - pos;
    }
    return longest;
  }

  void Emit(std::string_view first, const std::unordered_map<int32_t, uint32_t>& left_bytes,
            bool& after_unk, std::vector<int32_t>& out) const {
    std::vector<std::string_view> todo = {first};  // a stack: unused pieces may nest deeply
    while (!todo.empty()) {
      const std::string_view text = todo.back();
      todo.pop_back();
      int32_t id = vocab_.Find(text);
      if (has_unused_ && id >= 0 && options_.unused[static_cast<size_t>(id)]) {
        const auto it = left_bytes.find(id);
        if (it != left_bytes.end() && it->second < text.size()) {
          todo.push_back(text.substr(it->second));
          todo.push_back(text.substr(0, it->second));
          continue;
        }
        id = -1;  // one unused character: as if it were not in the vocabulary
      }
      EmitOne(id, text, after_unk, out);
    }
  }
  void EmitOne(int32_t id, std::string_view text, bool& after_unk,
               std::vector<int32_t>& out) const {
    if (id >= 0 && id != options_.unk_id) {
      out.push_back(id);
      after_unk = false;
      return;
    }
    if (options_.byte_fallback) {
      bool all = true;
      for (const char c : text) all = all && byte_tokens_[static_cast<unsigned char>(c)] >= 0;
      if (all) {
        for (const char c : text) out.push_back(byte_tokens_[static_cast<unsigned char>(c)]);
        after_unk = false;
        return;
      }
    }
    if (options_.unk_id >= 0 && (!after_unk || options_.raw_unk)) out.push_back(options_.unk_id);
    after_unk = true;
  }

  const Vocab& vocab_;
  SpmBpeOptions options_;
  std::vector<int32_t> byte_tokens_;
  bool has_unused_ = false;
};

}  // namespace

std::unique_ptr<TokenModel> MakeBpe(const Vocab& vocab, BpeMerges merges, BpeOptions options) {
  return std::make_unique<Bpe>(vocab, std::move(merges), std::move(options));
}

std::unique_ptr<TokenModel> MakeByteRankBpe(const StringTable& keys, std::vector<uint32_t> rank,
                                            std::vector<int32_t> byte_ids) {
  return std::make_unique<ByteRankBpe>(keys, std::move(rank), std::move(byte_ids));
}

std::unique_ptr<TokenModel> MakeSpmBpe(const Vocab& vocab, SpmBpeOptions options) {
  return std::make_unique<SpmBpe>(vocab, std::move(options));
}

}  // namespace rill::text
