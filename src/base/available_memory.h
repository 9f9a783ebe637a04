// How many bytes this process may still use.
#pragma once

#include <cstdint>
#include <string>

namespace rill {

// MemAvailable of /proc/meminfo, or less where a control group around this process leaves less:
// of each group from its own up to the root, the limit without what is in use; file pages that
// nobody has used lately count as free, as the kernel gives them up first. Versions 1 and 2 of
// control groups, in a container of their own or not. INT64_MAX when the machine tells nothing.
// `root` stands before all paths, for tests. Threads: any.
int64_t AvailableMemory(const std::string& root = "");

}  // namespace rill
