#include "base/control_groups.h"

#include <algorithm>
#include <fstream>

namespace rill {
namespace {

// The mount of a version, then each group on the way down to `path`.
void AddGroups(int version, const std::string& mount, std::string path,
               std::vector<ControlGroup>& out) {
  out.push_back({version, mount});
  while (path.size() > 1) {
    out.push_back({version, mount + path});
    path.resize(path.rfind('/'));
  }
}

// Version 2: "<quota> <period>" or "max <period>" in one file; version 1: a file each, quota -1 for
// none. Both in microseconds.
std::optional<double> QuotaOf(const ControlGroup& group) {
  int64_t quota = 0, period = 0;
  if (group.version == 2) {
    std::ifstream file(group.folder + "/cpu.max");
    if (!(file >> quota >> period)) return std::nullopt;
  } else {
    quota = ReadControlValue(group.folder + "/cpu.cfs_quota_us").value_or(0);
    period = ReadControlValue(group.folder + "/cpu.cfs_period_us").value_or(0);
  }
  if (quota <= 0 || period <= 0) return std::nullopt;
  return static_cast<double>(quota) / static_cast<double>(period);
}

}  // namespace

std::optional<int64_t> ReadControlValue(const std::string& path) {
  std::ifstream file(path);
  int64_t value = 0;
  if (file >> value && value >= 0) return value;
  return std::nullopt;
}

std::vector<ControlGroup> ControlGroupsOf(std::string_view controller, const std::string& root) {
  std::vector<ControlGroup> groups;
  // Lines are "number:controllers:path"; version 2 has no controllers.
  std::ifstream lines(root + "/proc/self/cgroup");
  std::string line;
  while (std::getline(lines, line)) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos || line[second + 1] != '/') continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) {
      AddGroups(2, root + "/sys/fs/cgroup", path, groups);
    } else if (("," + controllers + ",").find("," + std::string(controller) + ",") !=
               std::string::npos) {
      // Controllers that are mounted together ("cpu,cpuacct") have a link for each of them.
      AddGroups(1, root + "/sys/fs/cgroup/" + std::string(controller), path, groups);
    }
  }
  return groups;
}

std::optional<double> CpuQuota(const std::string& root) {
  std::optional<double> least;
  for (const ControlGroup& group : ControlGroupsOf("cpu", root)) {
    const std::optional<double> quota = QuotaOf(group);
    if (quota) least = std::min(*quota, least.value_or(*quota));
  }
  return least;
}

}  // namespace rill
