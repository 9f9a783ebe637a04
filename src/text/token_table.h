// Flat hash tables for vocabularies: open addressing, linear probing, seeded per process so that a
// hostile vocabulary cannot choose its collisions. Built once, then read by many threads.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace rill::text {

// token text -> id. The table keeps views: the texts must outlive it.
class StringTable {
 public:
  void Reserve(size_t count);
  // False, and no change, when the key is there already. `id` >= 0, used once.
  bool Insert(std::string_view key, int32_t id);
  // -1 when absent.
  int32_t Find(std::string_view key) const;
  size_t size() const { return count_; }
  size_t max_key_bytes() const { return max_key_bytes_; }

 private:
  struct Slot {
    uint32_t tag = 0;  // upper half of the hash
    int32_t id = -1;   // -1: free
  };
  void Grow(size_t slots);

  std::vector<Slot> slots_;
  std::vector<std::string_view> keys_;  // by id
  size_t count_ = 0;
  size_t max_key_bytes_ = 0;
};

// 64-bit key -> 64-bit value. The value ~0 means absent.
class Int64Table {
 public:
  static constexpr uint64_t kAbsent = ~uint64_t{0};
  void Reserve(size_t count);
  void Set(uint64_t key, uint64_t value);  // replaces
  uint64_t Find(uint64_t key) const {
    if (slots_.empty()) return kAbsent;
    for (size_t i = Home(key);; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.value == kAbsent || slot.key == key) return slot.value;
    }
  }
  size_t size() const { return count_; }

 private:
  struct Slot {
    uint64_t key = 0;
    uint64_t value = kAbsent;
  };
  size_t Home(uint64_t key) const {
    // Two rounds: one multiplication alone leaves the low key bits weak in the high product bits.
    uint64_t h = (key ^ seed_) * 0x9E3779B97F4A7C15u;
    h = (h ^ (h >> 32)) * multiplier_;
    return static_cast<size_t>(h >> shift_);
  }
  void Grow(size_t slots);

  std::vector<Slot> slots_;
  size_t mask_ = 0;
  int shift_ = 63;
  size_t count_ = 0;
  uint64_t seed_ = 0;
  uint64_t multiplier_ = 0;
};

// Prefix tree over byte strings, for longest-match and common-prefix search. Node 0 is the root.
class ByteTrie {
 public:
  void Reserve(size_t bytes) { edges_.Reserve(bytes); }
  void Insert(std::string_view key, int32_t id);  // a later key replaces an equal one
  // Next node, or -1.
  int32_t Step(int32_t node, unsigned char byte) const {
    if (node == 0) return root_[byte];
    const uint64_t next = edges_.Find((static_cast<uint64_t>(node) << 8) | byte);
    return next == Int64Table::kAbsent ? -1 : static_cast<int32_t>(next);
  }
  // Id of the key that ends at `node`, or -1.
  int32_t id(int32_t node) const { return ids_[static_cast<size_t>(node)]; }
  bool empty() const { return ids_.size() <= 1; }
  ByteTrie();

 private:
  Int64Table edges_;
  std::vector<int32_t> root_;
  std::vector<int32_t> ids_;
};

}  // namespace rill::text
