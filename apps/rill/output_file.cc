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
  if (file_) std::fclose(file_);
  if (has_name_) std::remove(temporary_.c_str());
}

Status OutputFile::Fail(int error) {
  if (path_ == "-") {
    if (error == EPIPE) _exit(0);  // the reader has enough, as in WriteStdout
    return FileError(std::string("stdout: ") + std::strerror(error), error);
  }
  return FileError(path_ + ": " + std::strerror(error), error);
}

Status OutputFile::Open(const std::string& path) {
  path_ = path;
  struct stat info = {};
  const bool exists = stat(path.c_str(), &info) == 0;
  if (path == "-") {
    file_ = fdopen(fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0), "wb");
    return file_ ? OkStatus() : Fail(errno);
  }
  if (exists && S_ISDIR(info.st_mode)) return Fail(EISDIR);
  if (exists && !S_ISREG(info.st_mode)) {
    file_ = std::fopen(path.c_str(), "wb");
    return file_ ? OkStatus() : Fail(errno);
  }
  target_ = path;
  if (exists) {
    char* real = realpath(path.c_str(), nullptr);
    if (!real) return Fail(errno);
    target_ = real;
    std::free(real);
  }
  temporary_ = target_ + ".tmp" + std::to_string(getpid());
  if (OpenUnnamed() == 0) return OkStatus();
  const int error = OpenNamed();
  return error == 0 ? OkStatus() : Fail(error);
}

namespace {

// By this name a file that has none can be given one.
std::string LinkTo(int fd) {
  return "/proc/self/fd/" + std::to_string(fd);
}

}  // namespace

int OutputFile::OpenUnnamed() {
  const size_t slash = target_.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : target_.substr(0, slash + 1);
  const int fd = open(folder.c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
  if (fd < 0) return errno;
  if (access(LinkTo(fd).c_str(), F_OK) == 0) file_ = fdopen(fd, "wb");
  if (file_) return 0;
  close(fd);
  return ENOENT;  // no /proc here
}

int OutputFile::OpenNamed() {
  // Exclusive: in a folder that others write to, a link may be waiting under this name.
  const int fd = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0) return errno;
  has_name_ = true;
  file_ = fdopen(fd, "wb");
  if (file_) return 0;
  const int error = errno;
  close(fd);
  return error;
}

Status OutputFile::Write(std::string_view bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_) == bytes.size()) return OkStatus();
  return Fail(errno);
}

int OutputFile::PutInPlace() {
  if (!has_name_) {
    const std::string link = LinkTo(fileno(file_));
    const auto name_it = [&link](const std::string& name) {
      return linkat(AT_FDCWD, link.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0;
    };
    if (name_it(target_)) return 0;
    if (errno != EEXIST || !name_it(temporary_)) return errno;  // a link cannot replace; rename can
    has_name_ = true;
  }
  if (std::rename(temporary_.c_str(), target_.c_str()) != 0) return errno;
  has_name_ = false;
  return 0;
}

Status OutputFile::Finish() {
  if (std::fflush(file_) != 0) return Fail(errno);
  // Some file systems say only at close() what became of the bytes; those have no unnamed files.
  if (has_name_ || target_.empty()) {
    const bool closed = std::fclose(file_) == 0;
    file_ = nullptr;
    if (!closed) return Fail(errno);
  }
  const int error = target_.empty() ? 0 : PutInPlace();
  return error == 0 ? OkStatus() : Fail(error);
}

}  // namespace rill::app
