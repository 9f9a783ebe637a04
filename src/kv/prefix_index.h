// PrefixIndex: which page holds which content, and which of those nobody uses.
//
// An entry binds one full page to its PrefixKey and tokens. Entries whose page nobody holds wait in
// lists by owner (tenant), least recently used first. EvictOne takes from the owner that has most
// of them, so that one tenant's flood pushes out its own pages first; with one owner it is plain
// LRU. Owners release a sequence's last page first, so a page goes before the pages it continues.
//
// Owner thread: the engine's.
// Invariants (CheckIntegrity asserts them):
//   1. entries and keys are one to one
//   2. each unused entry is in its owner's list once; num_unused is their sum
// Not responsible for: who holds a page (PagePool tells it).
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kv/prefix_key.h"
#include "rill/status.h"

namespace rill::kv {

class PrefixIndex {
 public:
  explicit PrefixIndex(int32_t num_pages) : entries_(static_cast<size_t>(num_pages)) {}

  bool contains(int32_t page) const { return entries_[static_cast<size_t>(page)] != nullptr; }
  int32_t num_unused() const { return num_unused_; }
  int32_t num_entries() const { return static_cast<int32_t>(by_key_.size()); }

  // Binds a page in use to its content. False, and nothing changes, when the page is bound already
  // or the content has a page.
  bool Insert(int32_t page, const PrefixKey& key, std::span<const int32_t> token_ids,
              const std::string& owner);
  // The page of this content, or -1. Tokens are compared.
  int32_t Find(const PrefixKey& key, std::span<const int32_t> token_ids) const;
  // The page is free of content from here on.
  void Erase(int32_t page);
  // Nobody holds the page any more / somebody does again.
  void MarkUnused(int32_t page);
  void MarkUsed(int32_t page);
  // Forgets the unused page that is to go first, and returns it. There must be one.
  int32_t EvictOne();

  // What the page holds; it must be bound.
  std::span<const int32_t> TokensOf(int32_t page) const { return At(page).token_ids; }
  bool unused(int32_t page) const { return contains(page) && At(page).unused; }
  // Unused pages of an owner.
  int32_t UnusedOf(const std::string& owner) const;
  Status CheckIntegrity() const;

 private:
  struct Owner {
    std::list<int32_t> unused;  // least recently used first
    int32_t num_entries = 0;
  };
  using OwnerMap = std::map<std::string, Owner>;
  struct Entry {
    PrefixKey key;
    std::vector<int32_t> token_ids;
    OwnerMap::iterator owner;
    bool unused = false;
    std::list<int32_t>::iterator place;  // in owner->unused
  };
  const Entry& At(int32_t page) const { return *entries_[static_cast<size_t>(page)]; }
  Entry& At(int32_t page) { return *entries_[static_cast<size_t>(page)]; }
  void Unlink(Entry& entry);
  void CountOwner(OwnerMap::iterator owner, int32_t before);

  std::vector<std::unique_ptr<Entry>> entries_;  // [num_pages]
  std::unordered_map<PrefixKey, int32_t, PrefixKeyHash> by_key_;
  OwnerMap owners_;
  std::set<std::pair<int32_t, std::string>> by_unused_;  // owners with unused pages, by how many
  int32_t num_unused_ = 0;
};

}  // namespace rill::kv
