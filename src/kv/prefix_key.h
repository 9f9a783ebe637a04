// PrefixKey: the name of a page's content.
//
//   root = SHA-256(secret || 0 || len(tenant) || tenant || salt)
//   key  = SHA-256(secret || 1 || key of the page before (root for the first) || token ids)
//
// integers little-endian, 64 and 32 bits. A key covers every token from the start of the text to
// the end of the page, so two pages of one key hold the same keys and values. The secret is random
// and never leaves the process: nobody can prepare texts whose keys collide, and tenant and salt
// part the spaces of names. Lookups compare the page's tokens as well.
//
// Threads: const calls from any.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace rill::kv {

struct PrefixKey {
  std::array<uint8_t, 32> bytes = {};
  bool operator==(const PrefixKey&) const = default;
};

struct PrefixKeyHash {
  size_t operator()(const PrefixKey& key) const {
    size_t hash;
    std::memcpy(&hash, key.bytes.data(), sizeof(hash));
    return hash;
  }
};

class PrefixHasher {
 public:
  // A secret of its own, from the system's random source. (A test may give one.)
  PrefixHasher();
  explicit PrefixHasher(const std::array<uint8_t, 32>& secret) : secret_(secret) {}

  PrefixKey Root(std::string_view tenant, std::string_view salt) const;
  PrefixKey Next(const PrefixKey& before, std::span<const int32_t> token_ids) const;

 private:
  std::array<uint8_t, 32> secret_;
};

}  // namespace rill::kv
