#include "base/small_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace rill {
namespace {

class SmallFile : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  const std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) / ("small_file_" + std::to_string(getpid()));
};

TEST_F(SmallFile, Read_GivesAllUpToTheLimit) {
  const std::string path = folder_ / "file", text("a\0b\n", 4);
  std::ofstream(path, std::ios::binary) << text;
  EXPECT_EQ(ReadSmallFile(path, 4).value(), text);
  EXPECT_EQ(ReadSmallFile(path, 100).value(), text);
  EXPECT_EQ(ReadSmallFile(path, 3).status().message(), path + ": larger than 3 bytes");
}

TEST_F(SmallFile, WhatIsNoRegularFile_IsRefusedAtOnce) {
  const std::string fifo = folder_ / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(ReadSmallFile(fifo, 4).status().message(),
            fifo + ": expected a regular file, this is a FIFO");
  EXPECT_EQ(ReadSmallFile(folder_, 4).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadSmallFile("/dev/zero", 4).status().message(),
            "/dev/zero: expected a regular file, this is a device");
  const Status absent = ReadSmallFile(folder_ / "absent", 4).status();
  EXPECT_EQ(absent.code(), StatusCode::kNotFound);
  EXPECT_NE(absent.message().find("absent: cannot be opened: No such file"), std::string::npos);
}

}  // namespace
}  // namespace rill
