// Byte-pair encoding: start from characters (or bytes), and as long as some pair of neighbours has
// a rule, merge the pair whose rule comes first (of equal rules, the leftmost).
// Source: Sennrich et al. 2016, arXiv:1508.07909.
//
// Short pieces are merged by scanning, long ones with a priority queue: O(n log n).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/token_model.h"

namespace rill::text {

struct BpeOptions {
  int32_t unk_id = -1;            // < 0: characters without a token are left out
  bool fuse_unk = false;          // neighbouring unknown characters give one unk
  bool byte_fallback = false;     // unknown characters become their <0xXX> tokens when all exist
  bool ignore_merges = false;     // a piece that is a token is that token
  std::string continuing_prefix;  // put before every character but a word's first ("##")
  std::string end_suffix;         // put after a word's last character ("</w>")
  // The pieces are raw bytes, and the vocabulary is in the GPT-2 byte alphabet.
  bool raw_bytes = false;
};

// Rules by pairs of token ids, in rank order: the BPE of tokenizer.json, merges.txt, GGUF "gpt2".
class BpeMerges {
 public:
  void Reserve(size_t count) { table_.Reserve(count); }
  void Set(int32_t left, int32_t right, uint32_t rank, int32_t merged) {
    table_.Set(Key(left, right),
               (static_cast<uint64_t>(rank) << 32) | static_cast<uint32_t>(merged));
  }
  bool Find(int32_t left, int32_t right, uint32_t& rank, int32_t& merged) const {
    if (left < 0 || right < 0) return false;
    const uint64_t value = table_.Find(Key(left, right));
    if (value == Int64Table::kAbsent) return false;
    rank = static_cast<uint32_t>(value >> 32);
    merged = static_cast<int32_t>(value & 0xFFFFFFFFu);
    return true;
  }

 private:
  static uint64_t Key(int32_t left, int32_t right) {
    return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) |
           static_cast<uint32_t>(right);
  }
  Int64Table table_;
};

// `vocab` must outlive the model.
std::unique_ptr<TokenModel> MakeBpe(const Vocab& vocab, BpeMerges merges, BpeOptions options);

// Rules by text: two neighbours may merge when their joined bytes are a token, and its rank is the
// rule's. `rank[id]` smaller = earlier; equal ranks: leftmost first. tiktoken files (rank = id).
// `keys` maps raw bytes to ids and must outlive the model; `byte_ids` has the 256 single bytes.
std::unique_ptr<TokenModel> MakeByteRankBpe(const StringTable& keys, std::vector<uint32_t> rank,
                                            std::vector<int32_t> byte_ids);

// SentencePiece BPE: the rule of a pair is the score of the joined piece, the highest first.
struct SpmBpeOptions {
  std::vector<uint32_t> rank;  // by id, from scores: 0 = highest; kNotMergeable otherwise
  std::vector<bool> unused;    // pieces of type UNUSED: merged through, but split again
  ByteTrie user_defined;       // symbols that are matched first and never merged
  int32_t unk_id = 0;
  bool byte_fallback = false;
  bool raw_unk = false;  // one unk a character instead of one a run
};
inline constexpr uint32_t kNotMergeable = ~uint32_t{0};
std::unique_ptr<TokenModel> MakeSpmBpe(const Vocab& vocab, SpmBpeOptions options);

}  // namespace rill::text
