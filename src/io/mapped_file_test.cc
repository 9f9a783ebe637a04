#include "io/mapped_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "io/mapping_fault.h"
#include "io/model_source.h"
#include "io/safe_open.h"
#include "io/test_files.h"

namespace rill::io {
namespace {

using ::testing::HasSubstr;
using testing::TempFolder;

TEST(MappedFile, MappedOrRead_SameBytes) {
  TempFolder folder;
  const std::string text(10'000, 'x');
  const std::string path = folder.Write("f", text);
  for (bool use_mmap : {true, false}) {
    const auto file = MappedFile::Open(path, {.use_mmap = use_mmap});
    ASSERT_TRUE(file.ok()) << file.status().ToString();
    EXPECT_EQ((*file)->is_mapped(), use_mmap);
    ASSERT_EQ((*file)->bytes().size(), text.size());
    EXPECT_EQ(std::memcmp((*file)->bytes().data(), text.data(), text.size()), 0);
  }
}

// A17: refused at once, never waited for.
// MiB of this process that lie in files (shared pages of /proc/self/statm).
double ResidentFileMiB() {
  std::ifstream in("/proc/self/statm");
  int64_t size = 0, resident = 0, shared = 0;
  in >> size >> resident >> shared;
  return static_cast<double>(shared * sysconf(_SC_PAGESIZE)) / (1 << 20);
}

TEST(MappedFile, DropResidentPages_GivesMemoryBackAndKeepsTheBytes) {
  TempFolder folder;
  const std::string bytes(size_t{16} << 20, 'x');
  const std::string path = folder.Write("f", bytes);
  for (bool use_mmap : {true, false}) {
    auto file = MappedFile::Open(path, {.use_mmap = use_mmap});
    ASSERT_TRUE(file.ok()) << file.status().ToString();
    const auto text = [&] {
      return std::string_view(reinterpret_cast<const char*>((*file)->bytes().data()), bytes.size());
    };
    EXPECT_EQ(text(), bytes);
    const double before = ResidentFileMiB();
    (*file)->DropResidentPages();
    if (use_mmap) {
      EXPECT_LT(ResidentFileMiB(), before - 8);
    }
    EXPECT_EQ(text(), bytes);
  }
}

// Resident memory of this process that is no file's.
double ResidentOwnMiB() {
  std::ifstream in("/proc/self/statm");
  int64_t size = 0, resident = 0, shared = 0;
  in >> size >> resident >> shared;
  return static_cast<double>((resident - shared) * sysconf(_SC_PAGESIZE)) / (1 << 20);
}

TEST(MappedFile, Release_GivesBackWholePagesOfAPart) {
  TempFolder folder;
  const std::string bytes(size_t{16} << 20, 'x');
  const std::string path = folder.Write("f", bytes);
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  // From within the second page to within the last one.
  const size_t begin = page + 100, end = bytes.size() - 100;
  for (bool use_mmap : {true, false}) {
    SCOPED_TRACE(use_mmap);
    auto file = MappedFile::Open(path, {.use_mmap = use_mmap});
    ASSERT_TRUE(file.ok()) << file.status().ToString();
    const auto all = (*file)->bytes();
    const std::string_view text(reinterpret_cast<const char*>(all.data()), all.size());
    EXPECT_EQ(text, bytes);
    const auto resident = [&] { return use_mmap ? ResidentFileMiB() : ResidentOwnMiB(); };
    const double before = resident();
    (*file)->Release(all.subspan(begin, end - begin));
    EXPECT_LT(resident(), before - 8);
    (*file)->Release(all.subspan(10, 20));  // no whole page
    std::string want = bytes;
    if (!use_mmap) std::fill(want.begin() + 2 * page, want.end() - page, '\0');
    EXPECT_EQ(text, want);
  }
}

TEST(MappedFile, WhatIsNotAFile_IsRefused) {
  TempFolder folder;
  ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
  folder.Write("empty", "");
  EXPECT_THAT(MappedFile::Open(folder / "fifo").status().message(), HasSubstr("this is a FIFO"));
  EXPECT_THAT(MappedFile::Open("/dev/zero").status().message(), HasSubstr("this is a device"));
  EXPECT_THAT(MappedFile::Open(folder.path()).status().message(), HasSubstr("this is a folder"));
  EXPECT_THAT(MappedFile::Open(folder / "empty").status().message(),
              HasSubstr("the file is empty"));
  EXPECT_EQ(MappedFile::Open(folder / "absent").status().code(), StatusCode::kNotFound);
  EXPECT_FALSE(MappedFile::Open(std::string("a\0b", 3)).ok());
  for (const char* name : {"fifo", "empty", "absent"}) {
    for (bool openat2 : {true, false}) {
      EXPECT_FALSE(OpenRegularFileBeneath(folder.path(), name, openat2).ok()) << name;
    }
    EXPECT_FALSE(OpenModel(folder / name).ok()) << name;
  }
  EXPECT_FALSE(OpenModel("/dev/zero").ok());
  EXPECT_FALSE(OpenModel("").ok());
}

// A9, with the kernel's own check and without it.
TEST(SafeOpen, NothingOutsideTheFolder_IsOpened) {
  TempFolder folder;
  folder.Write("secret", "s");
  folder.Write("model/inside", "i");
  std::filesystem::create_symlink("inside", folder / "model/link_in");
  std::filesystem::create_symlink("../secret", folder / "model/link_out");
  std::filesystem::create_symlink(folder / "secret", folder / "model/link_absolute");
  std::filesystem::create_symlink("link_loop", folder / "model/link_loop");
  const std::string model = folder / "model";
  for (bool openat2 : {true, false}) {
    EXPECT_TRUE(OpenRegularFileBeneath(model, "inside", openat2).ok());
    EXPECT_TRUE(OpenRegularFileBeneath(model, "link_in", openat2).ok());
    for (const char* name : {"link_out", "link_absolute"}) {
      EXPECT_THAT(OpenRegularFileBeneath(model, name, openat2).status().message(),
                  HasSubstr("leads outside the model's folder"))
          << name;
    }
    for (const char* name : {"../secret", "/etc/passwd", ".", "..", "", "link_loop"}) {
      EXPECT_FALSE(OpenRegularFileBeneath(model, name, openat2).ok()) << name;
    }
  }
}

TEST(SafeOpen, HubCacheSnapshots_MayLinkToTheirBlobs) {
  TempFolder folder;
  folder.Write("hub/models--o--n/blobs/abc", "b");
  folder.Write("hub/secret", "s");
  const std::string snapshot = folder / "hub/models--o--n/snapshots/1234";
  std::filesystem::create_directories(snapshot);
  std::filesystem::create_symlink("../../blobs/abc", snapshot + "/model.safetensors");
  std::filesystem::create_symlink("../../../secret", snapshot + "/config.json");
  for (bool openat2 : {true, false}) {
    const auto good = OpenRegularFileBeneath(snapshot, "model.safetensors", openat2);
    EXPECT_TRUE(good.ok()) << good.status().ToString();
    EXPECT_FALSE(OpenRegularFileBeneath(snapshot, "config.json", openat2).ok());
  }
}

// A7: the policy for a mapped file is a message with its name and an exit; a file that was read
// into memory does not care.
TEST(MappedFileDeathTest, TruncatedWhileMapped_ExitsWithItsName) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  TempFolder folder;
  const std::string path = folder.Write("model.gguf", std::string(1 << 20, 'x'));
  EXPECT_EXIT(
      {
        InstallMappingFaultHandler();
        const auto file = MappedFile::Open(path);
        if (!file.ok() || ::truncate(path.c_str(), 10) != 0) std::exit(1);
        volatile std::byte value = (*file)->bytes()[900'000];
        (void)value;
        std::exit(2);
      },
      ::testing::ExitedWithCode(kMappingFaultExitCode),
      "model\\.gguf: the file was truncated or its disk failed");
}

TEST(MappedFile, TruncatedAfterReading_DoesNotMatter) {
  TempFolder folder;
  const std::string path = folder.Write("model.gguf", std::string(1 << 20, 'x'));
  const auto file = MappedFile::Open(path, {.use_mmap = false});
  ASSERT_TRUE(file.ok());
  ASSERT_EQ(::truncate(path.c_str(), 10), 0);
  EXPECT_EQ((*file)->bytes()[900'000], std::byte{'x'});
  EXPECT_TRUE((*file)->CheckUnchanged().ok());
}

TEST(MappedFile, CheckUnchanged_SeesTruncationReplacementAndRemoval) {
  TempFolder folder;
  const std::string path = folder.Write("f", std::string(100, 'x'));
  const auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE((*file)->CheckUnchanged().ok());
  ASSERT_EQ(::truncate(path.c_str(), 10), 0);
  EXPECT_THAT((*file)->CheckUnchanged().message(), HasSubstr("100 bytes when opened, 10 now"));
  folder.Write("g", std::string(100, 'y'));
  std::filesystem::rename(folder / "g", path);
  EXPECT_EQ((*file)->CheckUnchanged().code(), StatusCode::kDataLoss);
  std::filesystem::remove(path);
  EXPECT_THAT((*file)->CheckUnchanged().message(), HasSubstr("the file is gone"));
}

TEST(MappedFile, AllocatedAsZeros_IsLargerThanTheMachineAndWritableAtItsStart) {
#if defined(RILL_SANITIZED)
  const size_t size = size_t{1} << 30;  // its shadow leaves less room
#else
  const size_t size = size_t{1} << 37;
#endif
  const auto file = MappedFile::Allocate(size, "zeros", 5000);
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_EQ((*file)->bytes().size(), size);
  std::memset((*file)->mutable_data(), 1, 5000);
  EXPECT_EQ((*file)->bytes()[4999], std::byte{1});
  EXPECT_EQ((*file)->bytes()[size - 1], std::byte{0});
  EXPECT_EQ((*file)->bytes()[size / 2], std::byte{0});
}

}  // namespace
}  // namespace rill::io
