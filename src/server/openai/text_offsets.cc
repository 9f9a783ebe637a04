#include "server/openai/text_offsets.h"

#include <algorithm>

#include "base/utf8.h"

namespace rill::server::openai {
namespace {

constexpr size_t kReplacementBytes = 3;  // of U+FFFD
constexpr size_t kMaxLead = 64;          // each costs a decoding of all before it

int64_t CountCharacters(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

}  // namespace

// As the detokenizer joins them: a character counts when it is whole, and what is no UTF-8 becomes
// U+FFFD.
int64_t TextOffsets::Add(std::string_view bytes) {
  int64_t begin = characters_;
  const size_t num_held = held_.size();
  held_ += bytes;
  const size_t size = held_.size() - IncompleteUtf8Suffix(held_);
  for (size_t done = 0; done < size;) {
    const DecodedRune rune = DecodeUtf8(std::string_view(held_).substr(done, size - done));
    done += rune.size;
    bytes_ += rune.valid ? rune.size : kReplacementBytes;
    ++characters_;
    if (done <= num_held) begin = characters_;  // it does not go on with what was held
  }
  held_.erase(0, size);
  return begin;
}

bool TextOffsets::LosesSpace(int32_t id, size_t num_bytes) {
  const size_t before = options_.decode(lead_).size();
  lead_.push_back(id);
  return options_.decode(lead_).size() < before + num_bytes;
}

int64_t TextOffsets::OfPrompt(int32_t id, std::string_view echo) {
  std::string bytes = options_.token_bytes(id);
  if (options_.is_special(id)) {
    // It would break the character that is held.
    const size_t at = bytes_ + (held_.empty() ? 0 : kReplacementBytes);
    if (!echo.substr(std::min(at, echo.size())).starts_with(bytes)) return characters_;
    if (!has_text_) lead_.push_back(id);
  } else if (!has_text_) {
    if (bytes.starts_with(' ') && LosesSpace(id, bytes.size())) bytes.erase(0, 1);
    has_text_ = !bytes.empty() || lead_.size() > kMaxLead;
  }
  return Add(bytes);
}

void TextOffsets::EndPrompt(std::string_view echo) {
  characters_ = CountCharacters(echo);
  bytes_ = echo.size();
}

int64_t TextOffsets::OfAnswer(const llm::TextToken& token) {
  if (options_.skip_special && options_.is_special(token.token_id)) return characters_;
  std::string bytes = options_.token_bytes(token.token_id);
  if (token.loses_space) bytes.erase(0, 1);
  return Add(bytes);
}

}  // namespace rill::server::openai
