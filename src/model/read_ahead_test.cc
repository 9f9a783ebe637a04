#include "model/read_ahead.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "io/mapped_file.h"
#include "io/test_files.h"

namespace rill::model {
namespace {

constexpr int64_t kMatrixBytes = int64_t{2} << 20;

// A file of three tensors "a", "b" and "c" of 2 MiB, of which nothing is in the page cache.
class ReadAheadTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string path = temp_ / "m";
    std::ofstream(path, std::ios::binary) << std::string(3 * kMatrixBytes, 'x');
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    ::fsync(fd);
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd);
    const auto file = io::MappedFile::Open(path, {});
    ASSERT_TRUE(file.ok()) << file.status().ToString();
    file_ = *file;
    const uint32_t index = tensors_.AddFile(file_);
    for (int64_t i = 0; i < 3; ++i) {
      io::TensorEntry entry;
      entry.name = std::string(1, static_cast<char>('a' + i));
      entry.view = TensorView(file_->bytes().data() + i * kMatrixBytes, DType::kU8, {kMatrixBytes});
      entry.file_index = index;
      ASSERT_TRUE(tensors_.Add(std::move(entry)).ok());
    }
    if (IsThere(0) || IsThere(1) || IsThere(2)) GTEST_SKIP() << "skipped: the cache keeps files";
  }

  // The last page of tensor `i`.
  bool IsThere(int64_t i) const {
    const int64_t page = ::sysconf(_SC_PAGESIZE);
    unsigned char resident = 0;
    auto* const at = const_cast<std::byte*>(file_->bytes().data()) + (i + 1) * kMatrixBytes - page;
    return ::mincore(at, static_cast<size_t>(page), &resident) == 0 && (resident & 1) != 0;
  }
  bool Comes(int64_t i, std::chrono::milliseconds within) const {
    const auto end = std::chrono::steady_clock::now() + within;
    while (!IsThere(i) && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return IsThere(i);
  }

  io::testing::TempFolder temp_;
  std::shared_ptr<const io::MappedFile> file_;
  io::TensorDirectory tensors_;
};

constexpr std::chrono::milliseconds kLong{20'000}, kShort{100};

TEST_F(ReadAheadTest, Start_AsksForWhatTheWindowHoldsAndForMoreAsPackingGoesOn) {
  ReadAhead ahead(tensors_, kMatrixBytes / 2);
  ahead.Add({"a"});
  ahead.Add({"b"});
  ahead.Add({"c"});
  ahead.Start();
  EXPECT_TRUE(Comes(0, kLong));
  EXPECT_FALSE(Comes(1, kShort));
  ahead.Begin(1);
  EXPECT_TRUE(Comes(1, kLong));
  EXPECT_FALSE(Comes(2, kShort));
  ahead.Begin(2);
  EXPECT_TRUE(Comes(2, kLong));
}

TEST_F(ReadAheadTest, OneTensorOfSeveralParts_CountsOnce) {
  ReadAhead ahead(tensors_, 2 * kMatrixBytes);
  ahead.Add({"a", "a", "no such tensor", "a"});
  ahead.Add({"b"});
  ahead.Start();
  EXPECT_TRUE(Comes(1, kLong));
}

TEST_F(ReadAheadTest, End_DoesNotWaitForWhatIsLeft) {
  {
    ReadAhead ahead(tensors_, 0);
    for (int i = 0; i < 100; ++i) ahead.Add({i == 99 ? "c" : "a"});
    ahead.Start();
  }
  EXPECT_FALSE(Comes(2, kShort));
}

}  // namespace
}  // namespace rill::model
