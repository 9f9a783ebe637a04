// AddedTokens: tokens that are found in the text itself, before the model sees it: control tokens
// ("<|im_end|>") and whatever else a tokenizer declares as added.
//
// A control token is taken only where a trusted author wrote it; see marked_text.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "rill/status.h"
#include "text/token_table.h"

namespace rill::text {

struct AddedToken {
  int32_t id = -1;
  std::string text;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
  bool normalized = false;   // sought in the normalized text instead of the raw one
  bool special = false;      // a control token
};

// True for what looks like a control token whatever its flags say ("<|user|>", "<｜User｜>"): some
// files declare those as ordinary, and a user's text must not forge them.
bool LooksLikeControl(std::string_view text);

struct TokenMatch {
  size_t begin;  // bytes taken, with stripped white space
  size_t end;
  int32_t id;
};

class AddedTokenMatcher {
 public:
  // Limit of one token's text: bounds the work at every position of the text.
  static constexpr size_t kMaxTokenBytes = 1024;

  // Errors: kResourceExhausted for a text longer than the limit. Empty texts are left out.
  Status Add(const AddedToken& token, std::string_view pattern);
  bool empty() const { return trie_.empty(); }

  // Leftmost-longest matches, in order; their texts do not overlap, but a match may lie in the
  // white space that the one before it took. `allowed(token, begin, end)` may refuse one (then a
  // shorter one is tried).
  template <typename Allowed>
  void Find(std::string_view text, const Allowed& allowed, std::vector<TokenMatch>& out) const {
    size_t done = 0;
    size_t space_begin = 1;  // the last run of white space that was measured: each only once
    size_t space_end = 0;
    for (size_t pos = 0; pos < text.size();) {
      int32_t node = 0;
      size_t end = 0;
      const AddedToken* found = nullptr;
      for (size_t i = pos; i < text.size(); ++i) {
        node = trie_.Step(node, static_cast<unsigned char>(text[i]));
        if (node < 0) break;
        const int32_t index = trie_.id(node);
        if (index < 0) continue;
        const AddedToken& token = tokens_[static_cast<size_t>(index)];
        if (allowed(token, pos, i + 1)) {
          found = &token;
          end = i + 1;
        }
      }
      if (!found) {
        ++pos;
        continue;
      }
      if (!found->single_word || StandsAlone(text, pos, end)) {
        TokenMatch match = Strip(*found, text, done, pos, end);
        // The white space that rstrip takes is searched all the same: with "\n" added, too,
        // "<s> \n" is both, and the next text starts after the "\n". Only a token with lstrip,
        // which would begin behind its end, is taken with it.
        if (found->rstrip) {
          if (end < space_begin || end > space_end) {
            space_begin = end;
            space_end = SpaceEnd(text, end);
          }
          match.end = space_end;
        }
        if (found->lstrip) match.begin = std::max(match.begin, done);
        if (match.begin < match.end) {
          out.push_back(match);
          done = match.end;
        }
      }
      pos = end;
    }
  }

 private:
  static bool StandsAlone(std::string_view text, size_t begin, size_t end);
  static size_t SpaceEnd(std::string_view text, size_t pos);
  // Without the white space behind it.
  static TokenMatch Strip(const AddedToken& token, std::string_view text, size_t done, size_t begin,
                          size_t end);

  std::vector<AddedToken> tokens_;
  ByteTrie trie_;  // ids are indices into tokens_
};

}  // namespace rill::text
