#include "output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "rill/file_error.h"

namespace rill::app {

OutputFile::~OutputFile() {
  if (!file_) return;
  std::fclose(file_);
  if (!temporary_.empty()) std::remove(temporary_.c_str());
}

Status OutputFile::Fail(int error) {
  return FileError(path_ + ": " + std::strerror(error), error);
}

Status OutputFile::Open(const std::string& path) {
  path_ = target_ = path;
  struct stat info = {};
  const bool exists = stat(path.c_str(), &info) == 0;
  if (exists && S_ISDIR(info.st_mode)) return Fail(EISDIR);
  if (exists && !S_ISREG(info.st_mode)) {
    file_ = std::fopen(path.c_str(), "wb");
    return file_ ? OkStatus() : Fail(errno);
  }
  if (exists) {
    char* real = realpath(path.c_str(), nullptr);
    if (!real) return Fail(errno);
    target_ = real;
    std::free(real);
  }
  temporary_ = target_ + ".tmp" + std::to_string(getpid());
  // Exclusive: in a folder that others write to, a link may be waiting under this name.
  const int fd = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  file_ = fd < 0 ? nullptr : fdopen(fd, "wb");
  if (file_) return OkStatus();
  const int error = errno;
  if (fd >= 0) close(fd);
  return Fail(error);
}

Status OutputFile::Write(std::string_view bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_) == bytes.size()) return OkStatus();
  return Fail(errno);
}

Status OutputFile::Finish() {
  const bool closed = std::fclose(file_) == 0;
  file_ = nullptr;
  if (closed && (temporary_.empty() || std::rename(temporary_.c_str(), target_.c_str()) == 0)) {
    return OkStatus();
  }
  const int error = errno;
  if (!temporary_.empty()) std::remove(temporary_.c_str());
  return Fail(error);
}

}  // namespace rill::app
