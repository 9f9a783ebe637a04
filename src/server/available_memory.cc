#include "server/available_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string_view>

namespace rill::server {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

// A number alone in a file; nullopt when absent, or "max".
std::optional<int64_t> ReadNumber(const std::string& path) {
  std::ifstream file(path);
  int64_t value = 0;
  if (file >> value && value >= 0) return value;
  return std::nullopt;
}

// The number after `key` in a file of "key number" lines.
std::optional<int64_t> ReadField(const std::string& path, std::string_view key) {
  std::ifstream file(path);
  std::string word, rest;
  while (file >> word) {
    int64_t value = 0;
    if (word == key && file >> value) return value;
    std::getline(file, rest);
  }
  return std::nullopt;
}

struct GroupFiles {
  const char* limit;
  const char* used;
  const char* idle_cache;  // in memory.stat, of the group and those below it
};
constexpr GroupFiles kVersion1 = {"/memory.limit_in_bytes", "/memory.usage_in_bytes",
                                  "total_inactive_file"};
constexpr GroupFiles kVersion2 = {"/memory.max", "/memory.current", "inactive_file"};

int64_t LeftIn(const std::string& group, const GroupFiles& files) {
  const std::optional<int64_t> limit = ReadNumber(group + files.limit);
  if (!limit) return kUnlimited;
  const int64_t used = ReadNumber(group + files.used).value_or(0);
  const int64_t cache = ReadField(group + "/memory.stat", files.idle_cache).value_or(0);
  return std::max<int64_t>(0, *limit - std::max<int64_t>(0, used - cache));
}

// The least of the group `path` and all above it. In a container the path that /proc names may be
// the host's and not exist here: then only the root is there, which is the container's own.
int64_t LeftInAll(const std::string& mount, std::string path, const GroupFiles& files) {
  int64_t left = LeftIn(mount, files);
  while (path.size() > 1) {
    left = std::min(left, LeftIn(mount + path, files));
    path.resize(path.rfind('/'));
  }
  return left;
}

}  // namespace

int64_t AvailableMemory(const std::string& root) {
  int64_t left = kUnlimited;
  if (const auto kib = ReadField(root + "/proc/meminfo", "MemAvailable:")) left = *kib * 1024;
  // Lines are "number:controllers:path"; version 2 has no controllers.
  std::ifstream groups(root + "/proc/self/cgroup");
  std::string line;
  while (std::getline(groups, line)) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos || line[second + 1] != '/') continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string path = line.substr(second + 1);
    if (controllers == ",,") {
      left = std::min(left, LeftInAll(root + "/sys/fs/cgroup", path, kVersion2));
    } else if (controllers.find(",memory,") != std::string::npos) {
      left = std::min(left, LeftInAll(root + "/sys/fs/cgroup/memory", path, kVersion1));
    }
  }
  return left;
}

}  // namespace rill::server
