#include "base/control_groups.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/testing.h"
#include "base/thread_pool.h"

namespace rill {
namespace {

namespace fs = std::filesystem;

class ControlGroupsTest : public ::testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) { machine_.Write(path, text); }
  double Quota() { return CpuQuota(root_).value_or(0); }

  ::rill::testing::FakeRoot machine_;
  const std::string& root_ = machine_.path();
};

TEST_F(ControlGroupsTest, GroupsOf_OneController_FromItsOwnToTheRoot) {
  Write("/proc/self/cgroup",
        "9:name=systemd:/x\n4:cpu,cpuacct:/a/b\n3:cpuset:/c\n0::/d\nnonsense\n7:cpu:no\n");
  std::vector<std::string> folders;
  for (const ControlGroup& group : ControlGroupsOf("cpu", root_)) {
    folders.push_back(std::to_string(group.version) + group.folder.substr(root_.size()));
  }
  EXPECT_EQ(folders, (std::vector<std::string>{"1/sys/fs/cgroup/cpu", "1/sys/fs/cgroup/cpu/a/b",
                                               "1/sys/fs/cgroup/cpu/a", "2/sys/fs/cgroup",
                                               "2/sys/fs/cgroup/d"}));
}

TEST_F(ControlGroupsTest, CpuQuota_NothingThere_IsNone) {
  EXPECT_FALSE(CpuQuota(root_));
  Write("/proc/self/cgroup", "0::/\n");
  Write("/sys/fs/cgroup/cpu.max", "max 100000\n");
  EXPECT_FALSE(CpuQuota(root_));
}

TEST_F(ControlGroupsTest, CpuQuota_Container_OwnLimitIsAtTheRoot) {
  Write("/proc/self/cgroup", "0::/docker/0123\n");  // the host's path, absent in here
  Write("/sys/fs/cgroup/cpu.max", "150000 100000\n");
  EXPECT_EQ(Quota(), 1.5);
}

TEST_F(ControlGroupsTest, CpuQuota_Service_TheTightestGroupAboveCounts) {
  Write("/proc/self/cgroup", "0::/system.slice/rill.service\n");  // whose root has no such file
  Write("/sys/fs/cgroup/system.slice/rill.service/cpu.max", "400000 100000\n");
  EXPECT_EQ(Quota(), 4);
  Write("/sys/fs/cgroup/system.slice/cpu.max", "100000 50000\n");
  EXPECT_EQ(Quota(), 2);
  Write("/sys/fs/cgroup/system.slice/rill.service/cpu.max", "max 100000\n");
  EXPECT_EQ(Quota(), 2);
}

TEST_F(ControlGroupsTest, CpuQuota_Version1_IsReadToo) {
  Write("/proc/self/cgroup", "2:cpu,cpuacct:/a/b\n0::/\n");
  Write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  Write("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_FALSE(CpuQuota(root_));
  Write("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "300000\n");
  Write("/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Quota(), 3);
  Write("/sys/fs/cgroup/cpu/a/b/cpu.cfs_quota_us", "50000\n");
  Write("/sys/fs/cgroup/cpu/a/b/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Quota(), 0.5);
}

TEST_F(ControlGroupsTest, CpuQuota_Nonsense_IsNone) {
  Write("/proc/self/cgroup", "1:cpu:/\n0::/\n");
  for (const char* text : {"", "0 100000", "-5 100000", "100000 0", "100000", "lots 1"}) {
    Write("/sys/fs/cgroup/cpu.max", text);
    EXPECT_FALSE(CpuQuota(root_)) << text;
  }
  Write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n");  // without a period
  EXPECT_FALSE(CpuQuota(root_));
}

// In a group of the kernel's, where this process may make one: half a CPU is one worker.
TEST(ControlGroups, AvailableCpus_InAGroupWithAQuota_AreItsCpus) {
  // The deepest group that has the file, of the version that this machine limits CPUs with.
  std::string parent;
  int version = 0;
  for (const ControlGroup& group : ControlGroupsOf("cpu")) {
    const std::string file =
        group.folder + (group.version == 1 ? "/cpu.cfs_quota_us" : "/cgroup.subtree_control");
    if (access(file.c_str(), W_OK) != 0 || group.folder.size() <= parent.size()) continue;
    if (group.version == 2) {
      std::ifstream controllers(file);
      std::string word;
      bool has_cpu = false;
      while (controllers >> word) has_cpu |= word == "cpu";
      if (!has_cpu) continue;
    }
    parent = group.folder;
    version = group.version;
  }
  if (parent.empty()) GTEST_SKIP() << "skipped: no control group to make one in";
  const std::string folder = parent + "/rill_test_" + std::to_string(getpid());
  std::error_code error;
  if (!fs::create_directory(folder, error)) GTEST_SKIP() << "skipped: " << error.message();
  if (version == 1) {
    std::ofstream(folder + "/cpu.cfs_period_us") << 100000;
    std::ofstream(folder + "/cpu.cfs_quota_us") << 50000;
  } else {
    std::ofstream(folder + "/cpu.max") << "50000 100000";
  }
  const int before = AvailableCpus();
  const pid_t child = fork();
  if (child == 0) {
    std::ofstream procs(folder + "/cgroup.procs");
    procs << getpid() << std::flush;
    if (!procs) _exit(77);
    _exit(CpuQuota() == 0.5 && AvailableCpus() == 1 ? 0 : 1);
  }
  int state = 0;
  ASSERT_EQ(waitpid(child, &state, 0), child);
  rmdir(folder.c_str());
  ASSERT_TRUE(WIFEXITED(state));
  if (WEXITSTATUS(state) == 77) GTEST_SKIP() << "skipped: may not enter a group";
  EXPECT_EQ(WEXITSTATUS(state), 0);
  EXPECT_EQ(AvailableCpus(), before);
}

}  // namespace
}  // namespace rill
