#include "base/small_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/utf8.h"
#include "rill/file_error.h"

namespace rill {
namespace {

std::string KindOf(mode_t mode) {
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

Result<std::string> ReadAll(int fd, const std::string& culprit, size_t max_bytes) {
  struct stat entry = {};
  if (fstat(fd, &entry) != 0) {
    return FileError(culprit + ": cannot be read: " + std::strerror(errno), errno);
  }
  if (!S_ISREG(entry.st_mode)) {
    return InvalidArgument(culprit + ": expected a regular file, this is " + KindOf(entry.st_mode));
  }
  // One byte more than is allowed; what grows meanwhile is not followed.
  std::string out(max_bytes + 1, '\0');
  size_t size = 0;
  while (size < out.size()) {
    const ssize_t got = read(fd, out.data() + size, out.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(culprit + ": cannot be read: " + std::strerror(errno), errno);
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  if (size > max_bytes) {
    return InvalidArgument(culprit + ": larger than " + std::to_string(max_bytes) + " bytes");
  }
  out.resize(size);
  return out;
}

}  // namespace

Result<std::string> ReadSmallFile(const std::string& path, size_t max_bytes) {
  const std::string culprit = PrintableUtf8(path);
  // O_NONBLOCK: the open of a FIFO does not wait for a writer.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (fd < 0) return FileError(culprit + ": cannot be opened: " + std::strerror(errno), errno);
  auto out = ReadAll(fd, culprit, max_bytes);
  close(fd);
  return out;
}

}  // namespace rill
