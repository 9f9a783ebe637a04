#include "base/touch_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

namespace rill {
namespace {

int64_t ResidentPages(std::byte* data, int64_t size_bytes) {
  std::vector<unsigned char> pages(static_cast<size_t>(size_bytes / sysconf(_SC_PAGESIZE)));
  EXPECT_EQ(mincore(data, static_cast<size_t>(size_bytes), pages.data()), 0);
  return std::count_if(pages.begin(), pages.end(), [](unsigned char p) { return (p & 1) != 0; });
}

// qemu-user says yes to MADV_POPULATE_WRITE and does nothing.
bool PopulateIsIgnored() {
  const int64_t page = sysconf(_SC_PAGESIZE);
  void* const data =
      mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const bool ignored = madvise(data, page, MADV_POPULATE_WRITE) == 0 &&
                       ResidentPages(static_cast<std::byte*>(data), page) == 0;
  munmap(data, page);
  return ignored;
}

TEST(TouchMemory, EveryPage_IsThereAndKeepsItsContents) {
  if (PopulateIsIgnored()) GTEST_SKIP() << "skipped: emulated system";
  const int64_t size = 80 << 20, page = sysconf(_SC_PAGESIZE);
  void* const mapped =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  auto* const data = static_cast<std::byte*>(mapped);
  madvise(data, size, MADV_NOHUGEPAGE);
  data[5 * page + 7] = std::byte{42};
  EXPECT_EQ(ResidentPages(data, size), 1);
  // From the middle of a page to the middle of another.
  ASSERT_TRUE(TouchMemory(data + page / 2, size - page, 2).ok());
  EXPECT_EQ(ResidentPages(data, size), size / page);
  EXPECT_EQ(data[5 * page + 7], std::byte{42});
  EXPECT_EQ(data[6 * page], std::byte{0});
  munmap(data, size);
}

TEST(TouchMemory, WhatIsNotMapped_IsAnError) {
  if (PopulateIsIgnored()) GTEST_SKIP() << "skipped: emulated system";
  const int64_t size = 4 << 20;
  void* const mapped =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  munmap(static_cast<std::byte*>(mapped) + size / 2, size / 2);
  const Status status = TouchMemory(mapped, size, 1);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted) << status.ToString();
  munmap(mapped, size / 2);
  EXPECT_TRUE(TouchMemory(nullptr, 0).ok());
}

}  // namespace
}  // namespace rill
