// TokenModel: turns one piece of text into token ids. And Vocab: the texts of all ids.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "rill/status.h"
#include "text/token_table.h"

namespace rill::text {

// Ids at most this (exclusive): far above any real vocabulary, small enough to index arrays.
inline constexpr int32_t kMaxVocabSize = 1 << 24;

// Texts as they stand in the vocabulary file, by id; ids may have gaps. Owns its bytes.
class Vocab {
 public:
  Vocab() = default;
  Vocab(Vocab&&) = default;
  Vocab& operator=(Vocab&&) = default;

  // Before the first Add: how many tokens and bytes will come. The arena never moves after this, so
  // exactly the bytes that are added must be counted.
  void Reserve(size_t num_tokens, size_t total_bytes);
  // Errors: kInvalidArgument on an id out of [0, kMaxVocabSize) or an id used twice. A text that
  // is there already keeps its first id for Find.
  Status Add(int32_t id, std::string_view text);

  int32_t size() const { return static_cast<int32_t>(texts_.size()); }  // largest id + 1
  size_t num_tokens() const { return num_tokens_; }
  // Empty for an id that has no token.
  std::string_view text(int32_t id) const {
    return id >= 0 && id < size() ? texts_[static_cast<size_t>(id)] : std::string_view();
  }
  bool Has(int32_t id) const { return text(id).data() != nullptr; }
  int32_t Find(std::string_view text) const { return table_.Find(text); }  // -1 when absent

  // A token that only the file's added tokens name is none of the model's: the model must not make
  // it of text, least of all a control token of a user's text.
  void MarkAdded(int32_t id);
  bool IsAdded(int32_t id) const {
    return static_cast<size_t>(id) < added_.size() && added_[static_cast<size_t>(id)];
  }
  // As Find, for the token model: among the tokens that are its own.
  int32_t FindOwn(std::string_view text) const {
    const int32_t id = table_.Find(text);
    return id >= 0 && IsAdded(id) ? -1 : id;
  }

 private:
  std::vector<char> arena_;
  std::vector<std::string_view> texts_;
  StringTable table_;
  std::vector<bool> added_;
  size_t num_tokens_ = 0;
};

// Cost of Encode: at most O(n log n) in the piece's bytes. Thread-safe.
class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // `piece` is not empty and valid UTF-8, or raw bytes where the model works on bytes.
  virtual void Encode(std::string_view piece, std::vector<int32_t>& out) const = 0;
};

// "<0x0A>" -> 10; -1 for anything else.
int ParseByteToken(std::string_view text);
// Ids of "<0x00>" … "<0xFF>", -1 where absent.
std::vector<int32_t> FindByteTokens(const Vocab& vocab);

}  // namespace rill::text
