// The control groups (cgroups) around this process, and what they leave it of the CPUs.
//
// `root` stands before all paths, for tests. Threads: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rill {

struct ControlGroup {
  int version = 2;     // 1 or 2: which files are in `folder`
  std::string folder;  // "/sys/fs/cgroup/system.slice/rill.service"
};

// Every group whose limits on `controller` ("cpu", "memory") bind this process: its own and all
// above it, of version 1 and of version 2 (a machine may use both, each for other controllers).
// In a container the path that the kernel names may be the host's: its folders do not exist then,
// and the root, which is always among the groups, is the container's own.
std::vector<ControlGroup> ControlGroupsOf(std::string_view controller,
                                          const std::string& root = "");

// A number >= 0 alone in a file of a group; nullopt when absent, negative, or "max".
std::optional<int64_t> ReadControlValue(const std::string& path);

// CPUs that the tightest group allows in the long run: quota over period, 1.5 for one and a half.
// nullopt: no group has a quota.
std::optional<double> CpuQuota(const std::string& root = "");

}  // namespace rill
