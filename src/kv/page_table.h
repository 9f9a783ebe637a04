// PageTable: the pages of one sequence, in order of position, with copy-on-write.
//
// Position p lives in pages()[p / page_size]. A page that another table also holds is never
// written: PrepareWrite replaces it by a fresh one first and notes the copy that the step has to
// make.
//
// Owner thread: the engine's. A table does not know its pool: the owner calls Clear before the
// table goes away (checked). Full pages may be published (PagePool::Publish): nothing is written to
// them any more.
#pragma once

#include <cstdint>
#include <vector>

#include "kv/page_pool.h"

namespace rill::kv {

// Whole pages, made before the step's first op.
struct PageCopy {
  int32_t from = 0;
  int32_t to = 0;
  bool operator==(const PageCopy&) const = default;
};

// Pages that hold `num_positions` positions.
constexpr int32_t PagesFor(int64_t num_positions, int32_t page_size) {
  return static_cast<int32_t>((num_positions + page_size - 1) / page_size);
}

class PageTable {
 public:
  PageTable() = default;
  ~PageTable();
  PageTable(PageTable&& other) noexcept : pages_(std::move(other.pages_)) { other.pages_.clear(); }
  PageTable& operator=(PageTable&& other) noexcept;
  PageTable(const PageTable&) = delete;
  PageTable& operator=(const PageTable&) = delete;

  const std::vector<int32_t>& pages() const { return pages_; }
  int32_t num_pages() const { return static_cast<int32_t>(pages_.size()); }

  // Makes positions [begin, end) writable by this table alone; begin is at most one past what the
  // table covers. Takes pages from the pool's promises; returns how many.
  int32_t PrepareWrite(PagePool& pool, int32_t page_size, int64_t begin, int64_t end,
                       std::vector<PageCopy>& copies);
  // How many pages PrepareWrite would take now.
  int32_t PagesToWrite(const PagePool& pool, int32_t page_size, int64_t begin, int64_t end) const;
  // A table over pages that already count the new table as an owner.
  static PageTable Adopt(std::vector<int32_t> pages);
  // A second table over the same pages.
  PageTable Fork(PagePool& pool) const;
  // Forgets its pages without giving them back: when the pool itself is given up.
  void Forget() { pages_.clear(); }
  // Gives all pages back.
  void Clear(PagePool& pool);

 private:
  std::vector<int32_t> pages_;
};

}  // namespace rill::kv
