#include "base/available_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string_view>

#include "base/control_groups.h"

namespace rill {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

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
  const std::optional<int64_t> limit = ReadControlValue(group + files.limit);
  if (!limit) return kUnlimited;
  const int64_t used = ReadControlValue(group + files.used).value_or(0);
  const int64_t cache = ReadField(group + "/memory.stat", files.idle_cache).value_or(0);
  return std::max<int64_t>(0, *limit - std::max<int64_t>(0, used - cache));
}

}  // namespace

int64_t AvailableMemory(const std::string& root) {
  int64_t left = kUnlimited;
  if (const auto kib = ReadField(root + "/proc/meminfo", "MemAvailable:")) left = *kib * 1024;
  for (const ControlGroup& group : ControlGroupsOf("memory", root)) {
    left = std::min(left, LeftIn(group.folder, group.version == 1 ? kVersion1 : kVersion2));
  }
  return left;
}

}  // namespace rill
