// The double-array trie of SentencePiece's precompiled character maps. Unit layout: the Darts-clone
// format (Yata 2011): bit 31 leaf, low 31 bits value | bits 0-7 label, bit 8 has-leaf, bits 10-30
// offset, scaled by 2^8 when bit 9 is set.

#include <algorithm>
#include <cstring>

#include "text/normalizer.h"

namespace rill::text {

Result<std::shared_ptr<const Charsmap>> Charsmap::Parse(std::string blob) {
  uint32_t trie_bytes = 0;
  if (blob.size() < sizeof trie_bytes) {
    return InvalidArgument("precompiled charsmap: expected at least 4 bytes, got " +
                           std::to_string(blob.size()));
  }
  std::memcpy(&trie_bytes, blob.data(), sizeof trie_bytes);
  if (trie_bytes % 4 != 0 || trie_bytes == 0 || trie_bytes > blob.size() - sizeof trie_bytes) {
    return InvalidArgument("precompiled charsmap: trie of " + std::to_string(trie_bytes) +
                           " bytes in a map of " + std::to_string(blob.size()));
  }
  // A value ends at the next NUL, wherever in the values it begins.
  constexpr size_t kMaxValueBytes = 96;
  size_t longest = 0, run = 0;
  for (size_t i = sizeof trie_bytes + trie_bytes; i < blob.size(); ++i) {
    run = blob[i] == '\0' ? 0 : run + 1;
    longest = std::max(longest, run);
  }
  if (longest > kMaxValueBytes) {
    return InvalidArgument("precompiled charsmap: expected values of at most " +
                           std::to_string(kMaxValueBytes) + " bytes, got one of " +
                           std::to_string(longest));
  }
  auto map = std::make_shared<Charsmap>();
  map->num_units_ = trie_bytes / 4;
  map->growth_ = std::max(1.0, static_cast<double>(longest) / 3);
  map->blob_ = std::move(blob);
  return std::shared_ptr<const Charsmap>(map);
}

uint32_t Charsmap::Unit(size_t index) const {
  uint32_t unit = 0;
  std::memcpy(&unit, blob_.data() + 4 + 4 * index, sizeof unit);
  return unit;
}

std::string_view Charsmap::Value(uint32_t offset) const {
  const size_t start = 4 + 4 * num_units_ + offset;
  if (start >= blob_.size()) return {};
  const size_t end = blob_.find('\0', start);
  return std::string_view(blob_).substr(start,
                                        (end == std::string::npos ? blob_.size() : end) - start);
}

template <typename Visit>
void Charsmap::Walk(std::string_view text, const Visit& visit) const {
  const auto offset_of = [](uint32_t unit) {
    return static_cast<size_t>((unit >> 10) << ((unit & (1u << 9)) >> 6));
  };
  size_t node = offset_of(Unit(0));
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    node ^= byte;
    if (node >= num_units_) return;
    const uint32_t unit = Unit(node);
    if ((unit & ((1u << 31) | 0xFFu)) != byte) return;
    node ^= offset_of(unit);
    if (node >= num_units_) return;
    if (((unit >> 8) & 1u) != 0 && !visit(i + 1, Unit(node) & 0x7FFFFFFFu)) return;
  }
}

bool Charsmap::LongestPrefix(std::string_view text, size_t& key_bytes,
                             std::string_view& value) const {
  bool found = false;
  uint32_t offset = 0;
  Walk(text, [&](size_t bytes, uint32_t at) {
    found = true;
    key_bytes = bytes;
    offset = at;
    return true;
  });
  if (found) value = Value(offset);
  return found;
}

bool Charsmap::ShortestPrefix(std::string_view text, std::string_view& value) const {
  bool found = false;
  Walk(text, [&](size_t, uint32_t at) {
    found = true;
    value = Value(at);
    return false;
  });
  return found;
}

}  // namespace rill::text
