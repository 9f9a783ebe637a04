#include "kv/prefix_index.h"

#include <gtest/gtest.h>

#include "kv/page_pool.h"

namespace rill::kv {
namespace {

using Ids = std::vector<int32_t>;

PrefixHasher FixedHasher() {
  return PrefixHasher(std::array<uint8_t, 32>{1, 2, 3});
}

// A pool of 4 pages with one page of an owner's content, held.
int32_t TakeNamed(PagePool& pool, const PrefixHasher& hasher, const std::string& owner,
                  int32_t id) {
  EXPECT_TRUE(pool.Reserve(1));
  const int32_t page = pool.AllocateReserved();
  EXPECT_TRUE(pool.Publish(page, hasher.Next(hasher.Root(owner, ""), Ids{id}), Ids{id}, owner));
  return page;
}

TEST(PrefixKey, DependsOnSecretTenantSaltHistoryAndTokens) {
  const PrefixHasher hasher = FixedHasher();
  const PrefixKey root = hasher.Root("a", "s");
  const PrefixKey key = hasher.Next(root, Ids{1, 2});
  EXPECT_EQ(hasher.Next(hasher.Root("a", "s"), Ids{1, 2}), key);
  EXPECT_NE(hasher.Next(hasher.Root("as", ""), Ids{1, 2}), key);  // no gliding border
  EXPECT_NE(hasher.Next(hasher.Root("a", ""), Ids{1, 2}), key);
  EXPECT_NE(hasher.Next(hasher.Root("b", "s"), Ids{1, 2}), key);
  EXPECT_NE(hasher.Next(root, Ids{1, 3}), key);
  EXPECT_NE(hasher.Next(hasher.Next(root, Ids{1, 2}), Ids{1, 2}), key);
  EXPECT_NE(PrefixHasher().Next(root, Ids{1, 2}), PrefixHasher().Next(root, Ids{1, 2}));
}

// The formula of prefix_key.h, by hashlib: sha256(bytes([1,2,3]) + bytes(29) + b'\0' +
// (1).to_bytes(8,'little') + b'a' + b's').
TEST(PrefixKey, IsTheDocumentedHash) {
  const PrefixKey root = FixedHasher().Root("a", "s");
  EXPECT_EQ(root.bytes[0], 0x36);
  EXPECT_EQ(root.bytes[31], 0xdf);
}

TEST(PagePool, NamedPage_IsFoundUntilItsPageIsNeeded) {
  const PrefixHasher hasher = FixedHasher();
  PagePool pool(4);
  const int32_t page = TakeNamed(pool, hasher, "a", 7);
  const PrefixKey key = hasher.Next(hasher.Root("a", ""), Ids{7});
  EXPECT_EQ(pool.Find(key, Ids{7}), page);
  EXPECT_EQ(pool.Find(key, Ids{8}), -1);  // the tokens are compared
  EXPECT_TRUE(pool.Release(page));
  EXPECT_EQ(pool.num_cached(), 1);
  EXPECT_EQ(pool.num_free(), 3);
  EXPECT_EQ(pool.num_available(), 4);
  ASSERT_TRUE(pool.Reserve(1));
  pool.TakeCached(page);
  EXPECT_EQ(pool.num_cached(), 0);
  EXPECT_EQ(pool.refcount(page), 1);
  pool.Release(page);
  // Free pages go first; the fourth allocation takes the cached one.
  ASSERT_TRUE(pool.Reserve(4));
  for (int i = 0; i < 3; ++i) EXPECT_NE(pool.AllocateReserved(), page);
  EXPECT_EQ(pool.Find(key, Ids{7}), page);
  EXPECT_EQ(pool.AllocateReserved(), page);
  EXPECT_EQ(pool.Find(key, Ids{7}), -1);
  EXPECT_EQ(pool.num_evicted(), 1);
  EXPECT_TRUE(pool.CheckIntegrity().ok());
}

TEST(PagePool, PageInUse_IsNeverTakenAndTheLeastRecentlyUsedGoesFirst) {
  const PrefixHasher hasher = FixedHasher();
  PagePool pool(4);
  std::vector<int32_t> pages;
  for (int32_t id = 0; id < 4; ++id) pages.push_back(TakeNamed(pool, hasher, "a", id));
  pool.Release(pages[2]);
  pool.Release(pages[0]);
  pool.Release(pages[3]);
  ASSERT_TRUE(pool.Reserve(1));
  pool.TakeCached(pages[2]);  // used again: now the most recent
  pool.Release(pages[2]);
  EXPECT_FALSE(pool.Reserve(4));
  ASSERT_TRUE(pool.Reserve(3));
  EXPECT_EQ(pool.AllocateReserved(), pages[0]);
  EXPECT_EQ(pool.AllocateReserved(), pages[3]);
  EXPECT_EQ(pool.AllocateReserved(), pages[2]);
  EXPECT_EQ(pool.refcount(pages[1]), 1);
  EXPECT_TRUE(pool.index().contains(pages[1]));
  EXPECT_TRUE(pool.CheckIntegrity().ok());
}

TEST(PagePool, FloodOfOneTenant_PushesOutItsOwnPages) {
  const PrefixHasher hasher = FixedHasher();
  PagePool pool(8);
  std::vector<int32_t> quiet;
  for (int32_t id = 0; id < 3; ++id) quiet.push_back(TakeNamed(pool, hasher, "quiet", id));
  for (int32_t page : quiet) pool.Release(page);
  for (int32_t id = 0; id < 100; ++id) pool.Release(TakeNamed(pool, hasher, "flood", id));
  EXPECT_EQ(pool.index().UnusedOf("quiet"), 3);
  EXPECT_EQ(pool.index().UnusedOf("flood"), 5);
  EXPECT_TRUE(pool.CheckIntegrity().ok());
}

TEST(PagePool, Withdraw_ForgetsTheContentOnly) {
  const PrefixHasher hasher = FixedHasher();
  PagePool pool(4);
  const int32_t held = TakeNamed(pool, hasher, "a", 1);
  const int32_t cached = TakeNamed(pool, hasher, "a", 2);
  pool.Release(cached);
  pool.Withdraw(held);
  pool.Withdraw(cached);
  pool.Withdraw(cached);
  EXPECT_EQ(pool.num_free(), 3);
  EXPECT_EQ(pool.refcount(held), 1);
  EXPECT_TRUE(pool.Release(held));
  EXPECT_EQ(pool.num_free(), 4);
  EXPECT_TRUE(pool.CheckIntegrity().ok());
}

}  // namespace
}  // namespace rill::kv
