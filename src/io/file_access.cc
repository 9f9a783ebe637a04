#include "io/file_access.h"

#include <sys/stat.h>

namespace rill::io {

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
    // There is no way to read it only. What another thread makes meanwhile is the more private.
    const mode_t mask = ::umask(077);
    ::umask(mask);
    mode &= ~mask;
  }
  return mode == (own.st_mode & 07777) || ::fchmod(fd, mode) == 0;
}

}  // namespace rill::io
