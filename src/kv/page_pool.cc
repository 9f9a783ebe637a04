#include "kv/page_pool.h"

#include <string>

#include "base/check.h"

namespace rill::kv {

PagePool::PagePool(int32_t num_pages) : index_(num_pages) {
  CHECK(num_pages >= 0) << num_pages;
  refcounts_.assign(static_cast<size_t>(num_pages), 0);
  free_.reserve(static_cast<size_t>(num_pages));
  for (int32_t page = num_pages - 1; page >= 0; --page) free_.push_back(page);
}

int32_t PagePool::refcount(int32_t page) const {
  CHECK(page >= 0 && page < num_pages()) << "page " << page << " of " << num_pages();
  return refcounts_[static_cast<size_t>(page)];
}

bool PagePool::Reserve(int32_t count) {
  CHECK(count >= 0) << count;
  if (count > num_available()) return false;
  reserved_ += count;
  return true;
}

void PagePool::Unreserve(int32_t count) {
  CHECK(count >= 0 && count <= reserved_) << count << " of " << reserved_;
  reserved_ -= count;
}

int32_t PagePool::AllocateReserved() {
  CHECK(reserved_ > 0 && num_free() + num_cached() > 0) << "allocation without a promise";
  --reserved_;
  int32_t page;
  if (free_.empty()) {
    page = index_.EvictOne();
    ++evicted_;
    NoteUnheld(page);
  } else {
    page = free_.back();
    free_.pop_back();
  }
  CHECK(refcounts_[static_cast<size_t>(page)] == 0) << "page " << page << " was free and in use";
  refcounts_[static_cast<size_t>(page)] = 1;
  return page;
}

void PagePool::Share(int32_t page) {
  CHECK(refcount(page) > 0) << "page " << page << " is free";
  ++refcounts_[static_cast<size_t>(page)];
}

void PagePool::TakeCached(int32_t page) {
  CHECK(refcount(page) == 0 && index_.contains(page)) << "page " << page << " is not cached";
  CHECK(reserved_ > 0) << "taken without a promise";
  --reserved_;
  index_.MarkUsed(page);
  refcounts_[static_cast<size_t>(page)] = 1;
}

bool PagePool::Release(int32_t page) {
  CHECK(refcount(page) > 0) << "page " << page << " released twice";
  if (--refcounts_[static_cast<size_t>(page)] > 0) return false;
  if (index_.contains(page)) {
    index_.MarkUnused(page);
  } else {
    Free(page);
  }
  return true;
}

bool PagePool::Publish(int32_t page, const PrefixKey& key, std::span<const int32_t> token_ids,
                       const std::string& owner) {
  CHECK(refcount(page) > 0) << "page " << page << " is nobody's";
  return index_.Insert(page, key, token_ids, owner);
}

void PagePool::Withdraw(int32_t page) {
  if (!index_.contains(page)) return;
  const bool was_cached = refcount(page) == 0;
  index_.Erase(page);
  if (was_cached) Free(page);
}

void PagePool::DropCached() {
  while (num_cached() > 0) Free(index_.EvictOne());
}

void PagePool::TrackUnheld() {
  tracks_unheld_ = true;
  unheld_.reserve(2 * refcounts_.size());
}

void PagePool::Free(int32_t page) {
  free_.push_back(page);
  NoteUnheld(page);
}

Status PagePool::CheckIntegrity() const {
  std::vector<bool> on_list(refcounts_.size(), false);
  for (int32_t page : free_) {
    if (page < 0 || page >= num_pages()) {
      return Internal("page pool: free list holds page " + std::to_string(page));
    }
    if (on_list[static_cast<size_t>(page)]) {
      return Internal("page pool: page " + std::to_string(page) + " is free twice");
    }
    on_list[static_cast<size_t>(page)] = true;
  }
  for (size_t i = 0; i < refcounts_.size(); ++i) {
    const int32_t page = static_cast<int32_t>(i);
    const bool unheld = refcounts_[i] == 0;
    if (refcounts_[i] < 0 || on_list[i] != (unheld && !index_.contains(page)) ||
        index_.unused(page) != (unheld && index_.contains(page))) {
      return Internal("page pool: page " + std::to_string(page) + " has refcount " +
                      std::to_string(refcounts_[i]) + (on_list[i] ? ", is" : ", is not") +
                      " on the free list and" + (index_.unused(page) ? " is" : " is not") +
                      " cached");
    }
  }
  if (reserved_ < 0 || reserved_ > num_free() + num_cached()) {
    return Internal("page pool: " + std::to_string(reserved_) + " pages promised, " +
                    std::to_string(num_free()) + " free, " + std::to_string(num_cached()) +
                    " cached");
  }
  return index_.CheckIntegrity();
}

}  // namespace rill::kv
