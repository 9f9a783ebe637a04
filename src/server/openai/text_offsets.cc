#include "server/openai/text_offsets.h"

#include <algorithm>

#include "base/utf8.h"

namespace rill::server::openai {
namespace {

constexpr size_t kMaxLead = 64;  // each costs a decoding of all before it

int64_t CountCharacters(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

}  // namespace

// As the detokenizer joins them: a character counts when it is whole, and what is no UTF-8 becomes
// U+FFFD.
void TextOffsets::Add(std::string_view bytes) {
  held_ += bytes;
  std::string_view whole(held_);
  whole.remove_suffix(IncompleteUtf8Suffix(held_));
  const size_t size = whole.size();
  while (!whole.empty()) {
    const DecodedRune rune = DecodeUtf8(whole);
    whole.remove_prefix(rune.size);
    bytes_ += rune.valid ? rune.size : 3;
    ++characters_;
  }
  held_.erase(0, size);
}

bool TextOffsets::LosesSpace(int32_t id, size_t num_bytes) {
  const size_t before = options_.decode(lead_).size();
  lead_.push_back(id);
  return options_.decode(lead_).size() < before + num_bytes;
}

int64_t TextOffsets::OfPrompt(int32_t id, std::string_view echo) {
  const int64_t offset = characters_;
  std::string bytes = options_.token_bytes(id);
  if (options_.is_special(id)) {
    if (!echo.substr(std::min(bytes_, echo.size())).starts_with(bytes)) return offset;
    if (!has_text_) lead_.push_back(id);
  } else if (!has_text_) {
    if (bytes.starts_with(' ') && LosesSpace(id, bytes.size())) bytes.erase(0, 1);
    has_text_ = !bytes.empty() || lead_.size() > kMaxLead;
  }
  Add(bytes);
  return offset;
}

void TextOffsets::EndPrompt(std::string_view echo) {
  characters_ = CountCharacters(echo);
  bytes_ = echo.size();
}

int64_t TextOffsets::OfAnswer(int32_t id, std::string_view text) {
  const int64_t offset = characters_;
  const bool is_special = options_.is_special(id);
  if (is_special && options_.skip_special) return offset;
  std::string bytes = options_.token_bytes(id);
  if (!is_special && !has_text_) {
    has_text_ = true;
    if (bytes.starts_with(' ') && !text.empty() && !text.starts_with(' ')) bytes.erase(0, 1);
  }
  Add(bytes);
  return offset;
}

}  // namespace rill::server::openai
