// PagePool: which page of the KV memory is whose. Ids and counts only, no memory.
//
// A page id is in [0, num_pages). A page is
//   used    held by `refcount` >= 1 owners; it may be published: its content has a name
//   cached  held by nobody, published: its content can be had again, until the page is needed
//   free    neither
// cached + free pages are what can be taken: `num_available`, less what is promised. A page in use
// is never taken away. Promises (Reserve) come before taking: Allocate cannot fail.
//
// Owner thread: the engine's. Not thread-safe.
// Invariants (CheckIntegrity asserts them):
//   1. each page is on the free list exactly when its refcount is 0 and it is not published, and
//      on it once; it is unused in the index exactly when its refcount is 0 and it is published
//   2. free + cached + used == num_pages
//   3. 0 <= reserved <= free + cached
// Not responsible for: contents, which sequence holds what.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kv/prefix_index.h"
#include "kv/prefix_key.h"
#include "rill/status.h"

namespace rill::kv {

class PagePool {
 public:
  explicit PagePool(int32_t num_pages);

  int32_t num_pages() const { return static_cast<int32_t>(refcounts_.size()); }
  int32_t num_free() const { return static_cast<int32_t>(free_.size()); }
  int32_t num_cached() const { return index_.num_unused(); }
  int32_t num_used() const { return num_pages() - num_free() - num_cached(); }
  int32_t num_reserved() const { return reserved_; }
  // Free or cached, and not promised.
  int32_t num_available() const { return num_free() + num_cached() - reserved_; }
  int64_t num_evicted() const { return evicted_; }
  int32_t refcount(int32_t page) const;
  const PrefixIndex& index() const { return index_; }

  // Promises `count` pages; false, and nothing changes, when fewer are available.
  [[nodiscard]] bool Reserve(int32_t count);
  // Gives back a promise that was not used.
  void Unreserve(int32_t count);
  // Takes one page out of a promise; its refcount is 1. Free pages first, the last freed first
  // (their memory is warm); then the cached page that is to go first.
  int32_t AllocateReserved();
  // One more owner of a page in use.
  void Share(int32_t page);
  // Takes a cached page for its content, out of a promise; its refcount is 1.
  void TakeCached(int32_t page);
  // One owner less; at 0 the page is free, or cached if it is published. True at 0.
  bool Release(int32_t page);

  // Gives a full page in use its name, for others to find. False when it has one, or another page
  // has this content.
  bool Publish(int32_t page, const PrefixKey& key, std::span<const int32_t> token_ids,
               const std::string& owner);
  // The page of this content, used or cached; or -1.
  int32_t Find(const PrefixKey& key, std::span<const int32_t> token_ids) const {
    return index_.Find(key, token_ids);
  }
  // Takes a page's name away: its content is not to be found again. No effect without one.
  void Withdraw(int32_t page);
  // Withdraws every cached page.
  void DropCached();

  // From here on unheld() keeps what has lost its content for good: pages that became free, and
  // cached ones that AllocateReserved took, which their new owner has not written yet.
  void TrackUnheld();
  std::span<const int32_t> unheld() const { return unheld_; }
  void ClearUnheld() { unheld_.clear(); }

  // kInternal with the invariant that does not hold. O(num_pages).
  Status CheckIntegrity() const;

 private:
  void Free(int32_t page);
  void NoteUnheld(int32_t page) {
    if (tracks_unheld_) unheld_.push_back(page);
  }

  std::vector<int32_t> refcounts_;
  std::vector<int32_t> free_;  // stack
  bool tracks_unheld_ = false;
  std::vector<int32_t> unheld_;
  PrefixIndex index_;
  int32_t reserved_ = 0;
  int64_t evicted_ = 0;
};

}  // namespace rill::kv
