#include "kv/page_pool.h"

#include <string>

#include "base/check.h"

namespace rill::kv {

PagePool::PagePool(int32_t num_pages) {
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
  CHECK(reserved_ > 0 && !free_.empty()) << "allocation without a promise";
  --reserved_;
  const int32_t page = free_.back();
  free_.pop_back();
  CHECK(refcounts_[static_cast<size_t>(page)] == 0) << "page " << page << " was free and in use";
  refcounts_[static_cast<size_t>(page)] = 1;
  return page;
}

void PagePool::Share(int32_t page) {
  CHECK(refcount(page) > 0) << "page " << page << " is free";
  ++refcounts_[static_cast<size_t>(page)];
}

bool PagePool::Release(int32_t page) {
  CHECK(refcount(page) > 0) << "page " << page << " released twice";
  if (--refcounts_[static_cast<size_t>(page)] > 0) return false;
  free_.push_back(page);
  return true;
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
  for (size_t page = 0; page < refcounts_.size(); ++page) {
    if (refcounts_[page] < 0 || on_list[page] != (refcounts_[page] == 0)) {
      return Internal("page pool: page " + std::to_string(page) + " has refcount " +
                      std::to_string(refcounts_[page]) +
                      (on_list[page] ? " and is" : " and is not") + " on the free list");
    }
  }
  if (reserved_ < 0 || reserved_ > num_free()) {
    return Internal("page pool: " + std::to_string(reserved_) + " pages promised, " +
                    std::to_string(num_free()) + " free");
  }
  return OkStatus();
}

}  // namespace rill::kv
