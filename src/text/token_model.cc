#include "text/token_model.h"

#include <algorithm>

#include "base/check.h"
#include "base/utf8.h"

namespace rill::text {

void Vocab::Reserve(size_t num_tokens, size_t total_bytes) {
  arena_.reserve(total_bytes);
  texts_.reserve(num_tokens);
  table_.Reserve(num_tokens);
}

Status Vocab::Add(int32_t id, std::string_view text) {
  if (id < 0 || id >= kMaxVocabSize) {
    return InvalidArgument("token \"" + PrintableUtf8(text, 40) + "\": expected an id in [0, " +
                           std::to_string(kMaxVocabSize) + "), got " + std::to_string(id));
  }
  if (static_cast<size_t>(id) >= texts_.size()) texts_.resize(static_cast<size_t>(id) + 1);
  std::string_view& slot = texts_[static_cast<size_t>(id)];
  if (slot.data() != nullptr) {
    return InvalidArgument("token id " + std::to_string(id) + " is used twice: \"" +
                           PrintableUtf8(slot, 40) + "\" and \"" + PrintableUtf8(text, 40) + "\"");
  }
  CHECK(arena_.capacity() - arena_.size() >= text.size()) << "vocabulary arena";
  const size_t offset = arena_.size();
  arena_.insert(arena_.end(), text.begin(), text.end());
  // data() of an empty text must not be null: null marks a gap.
  slot = text.empty() ? std::string_view("", 0)
                      : std::string_view(arena_.data() + offset, text.size());
  ++num_tokens_;
  table_.Insert(slot, id);
  return OkStatus();
}

void Vocab::MarkAdded(int32_t id) {
  if (static_cast<size_t>(id) >= added_.size()) added_.resize(static_cast<size_t>(id) + 1);
  added_[static_cast<size_t>(id)] = true;
}

int ParseByteToken(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  int value = 0;
  for (const char c : text.substr(3, 2)) {
    int digit = 0;
    if (c >= '0' && c <= '9') {
      digit = c - '0';
    } else if (c >= 'A' && c <= 'F') {
      digit = c - 'A' + 10;
    } else if (c >= 'a' && c <= 'f') {
      digit = c - 'a' + 10;
    } else {
      return -1;
    }
    value = value * 16 + digit;
  }
  return value;
}

std::vector<int32_t> FindByteTokens(const Vocab& vocab) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::vector<int32_t> ids(256);
  for (size_t b = 0; b < 256; ++b) {
    const char text[] = {'<', '0', 'x', kHex[b >> 4], kHex[b & 15], '>'};
    ids[b] = vocab.Find(std::string_view(text, sizeof text));
  }
  return ids;
}

}  // namespace rill::text
