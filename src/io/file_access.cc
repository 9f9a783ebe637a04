#include "io/file_access.h"

#include <sys/stat.h>

#include <charconv>
#include <fstream>
#include <string>
#include <string_view>

namespace rill::io {
namespace {

// umask() cannot read without setting, and for the length of that every thread has the wrong one.
mode_t CurrentMask() {
  constexpr std::string_view kKey = "Umask:\t";  // octal, since Linux 4.7
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with(kKey)) continue;
    unsigned mask = 0;
    const char* const end = line.data() + line.size();
    const auto [at, error] = std::from_chars(line.data() + kKey.size(), end, mask, 8);
    if (error == std::errc() && at == end && mask <= 0777) return static_cast<mode_t>(mask);
  }
  // Without /proc. What another thread makes meanwhile is the more private.
  const mode_t mask = ::umask(077);
  ::umask(mask);
  return mask;
}

}  // namespace

bool SetAccessLike(int fd, const std::vector<std::string>& sources, bool only_narrow) {
  struct stat own;
  if (::fstat(fd, &own) != 0) return false;
  constexpr mode_t kReaders = S_IRGRP | S_IROTH;
  mode_t readers = kReaders;
  for (const std::string& path : sources) {
    struct stat source;
    const bool found = ::stat(path.c_str(), &source) == 0;
    readers &= found ? source.st_mode : 0;
    if (found && source.st_gid != own.st_gid && readers != kReaders) readers = 0;
  }
  mode_t mode = S_IRUSR | S_IWUSR | readers;
  if (only_narrow) {
    mode = own.st_mode & mode & 07777;
  } else {
    mode &= ~CurrentMask();
  }
  return mode == (own.st_mode & 07777) || ::fchmod(fd, mode) == 0;
}

}  // namespace rill::io
