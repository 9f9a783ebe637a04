#include "base/available_memory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "base/testing.h"

namespace rill {
namespace {

namespace fs = std::filesystem;

class AvailableMemoryTest : public ::testing::Test {
 protected:
  AvailableMemoryTest() {
    Write("/proc/meminfo", "MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable: 8000 kB\n");
  }
  void Write(const std::string& path, const std::string& text) { machine_.Write(path, text); }

  ::rill::testing::FakeRoot machine_;
  const std::string& root_ = machine_.path();
};

TEST_F(AvailableMemoryTest, WithoutGroups_IsWhatTheMachineHas) {
  EXPECT_EQ(AvailableMemory(root_), 8000 * 1024);
  Write("/proc/self/cgroup", "0::/\n");
  Write("/sys/fs/cgroup/memory.max", "max\n");
  EXPECT_EQ(AvailableMemory(root_), 8000 * 1024);
}

TEST_F(AvailableMemoryTest, NothingKnown_IsUnlimited) {
  fs::remove_all(root_ + "/proc");
  EXPECT_EQ(AvailableMemory(root_), std::numeric_limits<int64_t>::max());
}

TEST_F(AvailableMemoryTest, Container_OwnLimitIsAtTheRoot) {
  Write("/proc/self/cgroup", "0::/docker/0123\n");  // the host's path, absent in here
  Write("/sys/fs/cgroup/memory.max", "1000000\n");
  Write("/sys/fs/cgroup/memory.current", "300000\n");
  Write("/sys/fs/cgroup/memory.stat", "anon 1\nfile 250000\ninactive_file 200000\n");
  EXPECT_EQ(AvailableMemory(root_), 900000);
}

TEST_F(AvailableMemoryTest, Service_TheTightestGroupAboveCounts) {
  Write("/proc/self/cgroup", "0::/system.slice/rill.service\n");
  Write("/sys/fs/cgroup/system.slice/memory.max", "700000\n");
  Write("/sys/fs/cgroup/system.slice/memory.current", "400000\n");
  Write("/sys/fs/cgroup/system.slice/rill.service/memory.max", "500000\n");
  Write("/sys/fs/cgroup/system.slice/rill.service/memory.current", "100000\n");
  EXPECT_EQ(AvailableMemory(root_), 300000);
}

TEST_F(AvailableMemoryTest, Version1_IsReadToo) {
  Write("/proc/self/cgroup", "9:name=systemd:/x\n4:cpu,memory:/a/b\n0::/\nnonsense\n");
  Write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  Write("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "600000\n");
  Write("/sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "250000\n");
  Write("/sys/fs/cgroup/memory/a/b/memory.stat", "inactive_file 7\ntotal_inactive_file 50000\n");
  EXPECT_EQ(AvailableMemory(root_), 400000);
}

TEST_F(AvailableMemoryTest, OverTheLimit_IsNothing) {
  Write("/proc/self/cgroup", "0::/\n");
  Write("/sys/fs/cgroup/memory.max", "1000\n");
  Write("/sys/fs/cgroup/memory.current", "3000\n");
  EXPECT_EQ(AvailableMemory(root_), 0);
}

}  // namespace
}  // namespace rill
