#include "kv/page_pool.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "kv/page_table.h"

namespace rill::kv {
namespace {

TEST(PagePool, FreeThenAllocate_ReturnsEachPageOnce) {
  PagePool pool(10);
  std::set<int32_t> pages;
  ASSERT_TRUE(pool.Reserve(10));
  EXPECT_FALSE(pool.Reserve(1));
  for (int i = 0; i < 10; ++i) pages.insert(pool.AllocateReserved());
  EXPECT_EQ(pages.size(), 10u);
  EXPECT_EQ(pool.num_free(), 0);
  for (int32_t page : pages) EXPECT_TRUE(pool.Release(page));
  EXPECT_EQ(pool.num_available(), 10);
  EXPECT_TRUE(pool.CheckIntegrity().ok());
}

TEST(PagePool, PromisedPages_AreNotPromisedTwice) {
  PagePool pool(4);
  ASSERT_TRUE(pool.Reserve(3));
  EXPECT_EQ(pool.num_free(), 4);
  EXPECT_EQ(pool.num_available(), 1);
  EXPECT_FALSE(pool.Reserve(2));
  pool.Unreserve(2);
  EXPECT_TRUE(pool.Reserve(2));
}

TEST(PagePool, SharedPage_IsFreeWhenItsLastOwnerLetsGo) {
  PagePool pool(2);
  ASSERT_TRUE(pool.Reserve(1));
  const int32_t page = pool.AllocateReserved();
  pool.Share(page);
  EXPECT_FALSE(pool.Release(page));
  EXPECT_EQ(pool.num_used(), 1);
  EXPECT_TRUE(pool.Release(page));
  EXPECT_EQ(pool.num_used(), 0);
}

TEST(PagePool, Unheld_AreFreedPagesAndCachedOnesThatWereTaken) {
  PagePool pool(2);
  pool.TrackUnheld();
  ASSERT_TRUE(pool.Reserve(2));
  const int32_t freed = pool.AllocateReserved(), cached = pool.AllocateReserved();
  const PrefixHasher hasher;
  const std::vector<int32_t> ids{1};
  ASSERT_TRUE(pool.Publish(cached, hasher.Next(hasher.Root("", ""), ids), ids, ""));
  EXPECT_TRUE(pool.unheld().empty());
  pool.Release(freed);
  pool.Release(cached);
  ASSERT_EQ(pool.unheld().size(), 1u);
  EXPECT_EQ(pool.unheld()[0], freed);
  pool.ClearUnheld();
  ASSERT_TRUE(pool.Reserve(2));
  EXPECT_EQ(pool.AllocateReserved(), freed);
  EXPECT_TRUE(pool.unheld().empty());  // nothing was written to it since
  EXPECT_EQ(pool.AllocateReserved(), cached);
  ASSERT_EQ(pool.unheld().size(), 1u);
  EXPECT_EQ(pool.unheld()[0], cached);
}

TEST(PagePoolDeathTest, Misuse_StopsAtOnce) {
  PagePool pool(2);
  EXPECT_DEATH(pool.AllocateReserved(), "without a promise");
  EXPECT_DEATH(pool.Release(1), "released twice");
  EXPECT_DEATH(pool.Share(0), "is free");
  EXPECT_DEATH(pool.Release(2), "page 2 of 2");
}

TEST(PageTable, ForkThenWrite_CopiesOnlyTheSharedPartialPage) {
  PagePool pool(10);
  ASSERT_TRUE(pool.Reserve(10));
  std::vector<PageCopy> copies;
  PageTable a;
  EXPECT_EQ(a.PrepareWrite(pool, 4, 0, 10, copies), 3);
  EXPECT_TRUE(copies.empty());
  PageTable b = a.Fork(pool);
  EXPECT_EQ(b.PrepareWrite(pool, 4, 10, 11, copies), 1);
  ASSERT_EQ(copies.size(), 1u);
  EXPECT_EQ(copies[0], (PageCopy{a.pages()[2], b.pages()[2]}));
  EXPECT_EQ(a.pages()[0], b.pages()[0]);
  EXPECT_EQ(a.pages()[1], b.pages()[1]);
  // The last owner writes in place.
  EXPECT_EQ(a.PrepareWrite(pool, 4, 10, 11, copies), 0);
  EXPECT_EQ(copies.size(), 1u);
  a.Clear(pool);
  b.Clear(pool);
  EXPECT_EQ(pool.num_free(), 10);
}

TEST(PageTable, ForkOnAPageBorder_CopiesNothing) {
  PagePool pool(10);
  ASSERT_TRUE(pool.Reserve(10));
  std::vector<PageCopy> copies;
  PageTable a;
  a.PrepareWrite(pool, 4, 0, 8, copies);
  PageTable b = a.Fork(pool);
  EXPECT_EQ(b.PrepareWrite(pool, 4, 8, 9, copies), 1);
  EXPECT_EQ(a.PrepareWrite(pool, 4, 8, 9, copies), 1);
  EXPECT_NE(a.pages()[2], b.pages()[2]);
  EXPECT_TRUE(copies.empty());
  a.Clear(pool);
  b.Clear(pool);
}

TEST(PageTable, SharedPageThatIsWrittenFromItsStart_NeedsNoCopy) {
  PagePool pool(4);
  ASSERT_TRUE(pool.Reserve(4));
  std::vector<PageCopy> copies;
  PageTable a;
  a.PrepareWrite(pool, 4, 0, 8, copies);
  PageTable b = a.Fork(pool);
  EXPECT_EQ(b.PrepareWrite(pool, 4, 4, 6, copies), 1);
  EXPECT_TRUE(copies.empty());
  EXPECT_NE(a.pages()[1], b.pages()[1]);
  a.Clear(pool);
  b.Clear(pool);
}

TEST(PageTable, RandomForksAndWrites_KeepRefcountsAndContents) {
  // Each table's contents are followed by value; pages hold them too, copied as the tables say.
  constexpr int32_t kPageSize = 4;
  std::mt19937 random(3);
  PagePool pool(200);
  std::vector<std::vector<int>> memory(200, std::vector<int>(kPageSize, -1));
  struct Row {
    PageTable table;
    std::vector<int> values;
  };
  std::vector<Row> rows;
  int next = 0;
  for (int step = 0; step < 20000; ++step) {
    const uint32_t what = random() % 10;
    if (rows.empty() || (what == 0 && rows.size() < 8)) {
      rows.emplace_back();
    } else if (what == 1 && rows.size() < 8) {
      const size_t from = random() % rows.size();
      Row fork{rows[from].table.Fork(pool), rows[from].values};
      rows.push_back(std::move(fork));
    } else if (what == 2) {
      const size_t i = random() % rows.size();
      rows[i].table.Clear(pool);
      std::swap(rows[i].table, rows.back().table);
      std::swap(rows[i].values, rows.back().values);
      rows.pop_back();
    } else {
      Row& row = rows[random() % rows.size()];
      const size_t count = 1 + random() % 6;
      if (row.values.size() + count > 80) continue;
      const int64_t begin = static_cast<int64_t>(row.values.size());
      const int64_t end = begin + static_cast<int64_t>(count);
      std::vector<PageCopy> copies;
      const int32_t available = pool.num_available();
      ASSERT_TRUE(pool.Reserve(available));
      row.table.PrepareWrite(pool, kPageSize, begin, end, copies);
      pool.Unreserve(pool.num_reserved());
      for (const PageCopy& copy : copies) {
        memory[static_cast<size_t>(copy.to)] = memory[static_cast<size_t>(copy.from)];
      }
      for (int64_t p = begin; p < end; ++p) {
        row.values.push_back(next);
        memory[static_cast<size_t>(row.table.pages()[static_cast<size_t>(p / kPageSize)])]
              [static_cast<size_t>(p % kPageSize)] = next++;
      }
    }
    std::vector<int32_t> holders(200, 0);
    for (const Row& row : rows) {
      for (int32_t page : row.table.pages()) ++holders[static_cast<size_t>(page)];
      for (size_t p = 0; p < row.values.size(); ++p) {
        ASSERT_EQ(memory[static_cast<size_t>(row.table.pages()[p / kPageSize])][p % kPageSize],
                  row.values[p])
            << "step " << step;
      }
    }
    for (int32_t page = 0; page < 200; ++page) {
      ASSERT_EQ(pool.refcount(page), holders[static_cast<size_t>(page)]) << "step " << step;
    }
    ASSERT_TRUE(pool.CheckIntegrity().ok());
  }
  for (Row& row : rows) row.table.Clear(pool);
  EXPECT_EQ(pool.num_free(), 200);
}

}  // namespace
}  // namespace rill::kv
