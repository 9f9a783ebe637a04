#include "kv/page_table.h"

#include <algorithm>

#include "base/check.h"

namespace rill::kv {

PageTable::~PageTable() {
  CHECK(pages_.empty()) << pages_.size() << " pages were not given back";
}

PageTable& PageTable::operator=(PageTable&& other) noexcept {
  CHECK(pages_.empty()) << pages_.size() << " pages were not given back";
  pages_ = std::move(other.pages_);
  other.pages_.clear();
  return *this;
}

int32_t PageTable::PrepareWrite(PagePool& pool, int32_t page_size, int64_t begin, int64_t end,
                                std::vector<PageCopy>& copies) {
  CHECK(begin <= end && begin <= int64_t{num_pages()} * page_size)
      << "write of [" << begin << ", " << end << ") into " << num_pages() << " pages";
  int32_t taken = 0;
  if (begin == end) return taken;
  for (int64_t i = begin / page_size; i < num_pages() && i * page_size < end; ++i) {
    int32_t& page = pages_[static_cast<size_t>(i)];
    if (pool.refcount(page) == 1) continue;
    const int32_t fresh = pool.AllocateReserved();
    ++taken;
    // Only a page with earlier positions of ours in it has something to copy.
    if (begin > i * page_size) copies.push_back({page, fresh});
    pool.Release(page);
    page = fresh;
  }
  for (const int32_t needed = PagesFor(end, page_size); num_pages() < needed; ++taken) {
    pages_.push_back(pool.AllocateReserved());
  }
  return taken;
}

int32_t PageTable::PagesToWrite(const PagePool& pool, int32_t page_size, int64_t begin,
                                int64_t end) const {
  if (begin == end) return 0;
  int32_t count = std::max(0, PagesFor(end, page_size) - num_pages());
  for (int64_t i = begin / page_size; i < num_pages() && i * page_size < end; ++i) {
    if (pool.refcount(pages_[static_cast<size_t>(i)]) > 1) ++count;
  }
  return count;
}

PageTable PageTable::Adopt(std::vector<int32_t> pages) {
  PageTable table;
  table.pages_ = std::move(pages);
  return table;
}

PageTable PageTable::Fork(PagePool& pool) const {
  PageTable fork;
  fork.pages_ = pages_;
  for (int32_t page : pages_) pool.Share(page);
  return fork;
}

void PageTable::Clear(PagePool& pool) {
  // Last page first, so that the first one is on top of the free list.
  for (size_t i = pages_.size(); i > 0; --i) pool.Release(pages_[i - 1]);
  pages_.clear();
}

}  // namespace rill::kv
