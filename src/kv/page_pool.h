// PagePool: which page of the KV memory is whose. Ids and counts only, no memory.
//
// A page id is in [0, num_pages). A page is free (count 0) or held by `refcount` owners. Pages may
// be promised before they are taken (Reserve), so that what was admitted can never run out:
// AllocateReserved cannot fail.
//
// Owner thread: the engine's. Not thread-safe.
// Invariants (CheckIntegrity asserts them):
//   1. each page is on the free list exactly when its refcount is 0, and on it once
//   2. free + in_use == num_pages
//   3. 0 <= reserved <= free
// Not responsible for: contents, which sequence holds what, eviction.
#pragma once

#include <cstdint>
#include <vector>

#include "rill/status.h"

namespace rill::kv {

class PagePool {
 public:
  explicit PagePool(int32_t num_pages);

  int32_t num_pages() const { return static_cast<int32_t>(refcounts_.size()); }
  int32_t num_free() const { return static_cast<int32_t>(free_.size()); }
  int32_t num_in_use() const { return num_pages() - num_free(); }
  int32_t num_reserved() const { return reserved_; }
  // Free and not promised.
  int32_t num_available() const { return num_free() - reserved_; }
  int32_t refcount(int32_t page) const;

  // Promises `count` pages; false, and nothing changes, when fewer are available.
  [[nodiscard]] bool Reserve(int32_t count);
  // Gives back a promise that was not used.
  void Unreserve(int32_t count);
  // Takes one page out of a promise; its refcount is 1. Ids freed last come first: their memory is
  // warm.
  int32_t AllocateReserved();
  // One more owner of a page in use.
  void Share(int32_t page);
  // One owner less; at 0 the page is free. True when it became free.
  bool Release(int32_t page);

  // kInternal with the invariant that does not hold. O(num_pages).
  Status CheckIntegrity() const;

 private:
  std::vector<int32_t> refcounts_;
  std::vector<int32_t> free_;  // stack
  int32_t reserved_ = 0;
};

}  // namespace rill::kv
