#include "text/token_table.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <random>

namespace rill::text {
namespace {

uint64_t ProcessSeed() {
  static const uint64_t seed = [] {
    std::random_device device;
    return (static_cast<uint64_t>(device()) << 32) | device();
  }();
  return seed;
}

// Slots for `count` entries at a load of at most 1/2.
size_t SlotsFor(size_t count) {
  return std::bit_ceil(std::max<size_t>(16, count * 2));
}

}  // namespace

void StringTable::Reserve(size_t count) {
  if (SlotsFor(count) > slots_.size()) Grow(SlotsFor(count));
  keys_.reserve(count);
}

void StringTable::Grow(size_t slots) {
  const std::vector<Slot> old = std::move(slots_);
  slots_.assign(slots, Slot{});
  const size_t mask = slots - 1;
  for (const Slot& slot : old) {
    if (slot.id < 0) continue;
    const uint64_t hash =
        XXH3_64bits_withSeed(keys_[static_cast<size_t>(slot.id)].data(),
                             keys_[static_cast<size_t>(slot.id)].size(), ProcessSeed());
    size_t i = static_cast<size_t>(hash) & mask;
    while (slots_[i].id >= 0) i = (i + 1) & mask;
    slots_[i] = slot;
  }
}

bool StringTable::Insert(std::string_view key, int32_t id) {
  if ((count_ + 1) * 2 > slots_.size()) Grow(SlotsFor(count_ + 1) * 2);
  const uint64_t hash = XXH3_64bits_withSeed(key.data(), key.size(), ProcessSeed());
  const auto tag = static_cast<uint32_t>(hash >> 32);
  const size_t mask = slots_.size() - 1;
  size_t i = static_cast<size_t>(hash) & mask;
  for (; slots_[i].id >= 0; i = (i + 1) & mask) {
    if (slots_[i].tag == tag && keys_[static_cast<size_t>(slots_[i].id)] == key) return false;
  }
  slots_[i] = {tag, id};
  if (static_cast<size_t>(id) >= keys_.size()) keys_.resize(static_cast<size_t>(id) + 1);
  keys_[static_cast<size_t>(id)] = key;
  ++count_;
  max_key_bytes_ = std::max(max_key_bytes_, key.size());
  return true;
}

int32_t StringTable::Find(std::string_view key) const {
  if (slots_.empty() || key.size() > max_key_bytes_) return -1;
  const uint64_t hash = XXH3_64bits_withSeed(key.data(), key.size(), ProcessSeed());
  const auto tag = static_cast<uint32_t>(hash >> 32);
  const size_t mask = slots_.size() - 1;
  for (size_t i = static_cast<size_t>(hash) & mask; slots_[i].id >= 0; i = (i + 1) & mask) {
    if (slots_[i].tag == tag && keys_[static_cast<size_t>(slots_[i].id)] == key) {
      return slots_[i].id;
    }
  }
  return -1;
}

void Int64Table::Reserve(size_t count) {
  if (SlotsFor(count) > slots_.size()) Grow(SlotsFor(count));
}

void Int64Table::Grow(size_t slots) {
  const std::vector<Slot> old = std::move(slots_);
  slots_.assign(slots, Slot{});
  mask_ = slots - 1;
  shift_ = 64 - std::countr_zero(slots);
  seed_ = ProcessSeed();
  multiplier_ = std::rotl(ProcessSeed(), 17) | 1;
  for (const Slot& slot : old) {
    if (slot.value == kAbsent) continue;
    size_t i = Home(slot.key);
    while (slots_[i].value != kAbsent) i = (i + 1) & mask_;
    slots_[i] = slot;
  }
}

void Int64Table::Set(uint64_t key, uint64_t value) {
  if ((count_ + 1) * 2 > slots_.size()) Grow(SlotsFor(count_ + 1) * 2);
  for (size_t i = Home(key);; i = (i + 1) & mask_) {
    Slot& slot = slots_[i];
    if (slot.value == kAbsent) {
      slot = {key, value};
      ++count_;
      return;
    }
    if (slot.key == key) {
      slot.value = value;
      return;
    }
  }
}

ByteTrie::ByteTrie() : root_(256, -1), ids_(1, -1) {}

void ByteTrie::Insert(std::string_view key, int32_t id) {
  int32_t node = 0;
  for (const char c : key) {
    const auto byte = static_cast<unsigned char>(c);
    int32_t next = Step(node, byte);
    if (next < 0) {
      next = static_cast<int32_t>(ids_.size());
      ids_.push_back(-1);
      if (node == 0) {
        root_[byte] = next;
      } else {
        edges_.Set((static_cast<uint64_t>(node) << 8) | byte, static_cast<uint64_t>(next));
      }
    }
    node = next;
  }
  ids_[static_cast<size_t>(node)] = id;
}

}  // namespace rill::text
