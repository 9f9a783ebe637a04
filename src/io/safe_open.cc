#include "io/safe_open.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/utf8.h"
#include "rill/file_error.h"

namespace rill::io {
namespace {

std::string_view BaseName(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

std::string ParentOf(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  const size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  return std::string(path.substr(0, slash == 0 ? 1 : slash));
}

// Absolute path without symbolic links; empty when it does not exist.
std::string RealPath(const std::string& path) {
  std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr), &std::free);
  return real ? std::string(real.get()) : std::string();
}

Status ErrnoStatus(const std::string& path, int error) {
  return FileError(PrintableUtf8(path) + ": cannot be opened: " + std::strerror(error), error);
}

std::string_view KindName(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  if (S_ISSOCK(mode)) return "a socket";
  return "not a file";
}

Status CheckKind(const std::string& path, const struct stat& info) {
  if (!S_ISREG(info.st_mode)) {
    return InvalidArgument(PrintableUtf8(path) + ": expected a regular file, this is " +
                           std::string(KindName(info.st_mode)));
  }
  if (info.st_size <= 0) return InvalidArgument(PrintableUtf8(path) + ": the file is empty");
  return OkStatus();
}

// O_NONBLOCK: between a check and the open a FIFO could take the file's place, and an open without
// it would wait for a writer for ever. It changes nothing for regular files.
constexpr int kOpenFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

Result<OpenedFile> Checked(int fd, const std::string& path) {
  OpenedFile file{UniqueFd(fd)};
  struct stat info;
  if (::fstat(fd, &info) != 0) return ErrnoStatus(path, errno);
  RILL_RETURN_IF_ERROR(CheckKind(path, info));
  file.size_bytes = static_cast<uint64_t>(info.st_size);
  return file;
}

Status OutsideError(const std::string& path) {
  return InvalidArgument(PrintableUtf8(path) + ": leads outside the model's folder");
}

// The way without openat2: a link is resolved first and its target must be inside `root`.
Result<OpenedFile> OpenByRealPath(const std::string& root, const std::string& path) {
  const std::string real_root = RealPath(root);
  const std::string real = RealPath(path);
  if (real_root.empty() || real.empty()) return ErrnoStatus(path, errno ? errno : ENOENT);
  if (real_root != "/" && !real.starts_with(real_root + "/")) return OutsideError(path);
  // Resolved already: a link that appears here now was put there in between.
  const int fd = ::open(real.c_str(), kOpenFlags | O_NOFOLLOW);
  if (fd < 0) return errno == ELOOP ? OutsideError(path) : ErrnoStatus(path, errno);
  return Checked(fd, path);
}

}  // namespace

UniqueFd::~UniqueFd() {
  if (fd_ >= 0) ::close(fd_);
}

bool IsPlainFileName(std::string_view name) {
  return !name.empty() && name.size() <= NAME_MAX && name != "." && name != ".." &&
         name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

Result<OpenedFile> OpenRegularFile(const std::string& path) {
  if (path.find('\0') != std::string::npos) {
    return InvalidArgument(PrintableUtf8(path) + ": a path cannot contain a zero byte");
  }
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return ErrnoStatus(path, errno);
  // Before open(): opening a device can already do something.
  RILL_RETURN_IF_ERROR(CheckKind(path, info));
  const int fd = ::open(path.c_str(), kOpenFlags);
  if (fd < 0) return ErrnoStatus(path, errno);
  return Checked(fd, path);
}

Result<OpenedFile> OpenRegularFileBeneath(const std::string& folder, std::string_view name,
                                          bool allow_openat2) {
  if (!IsPlainFileName(name)) {
    return InvalidArgument("'" + PrintableUtf8(name) +
                           "': expected a plain file name in the model's folder (no path)");
  }
  const std::string path = folder + "/" + std::string(name);
  std::string root = folder;
  std::string relative(name);
  const std::string real_folder = RealPath(folder);
  const std::string snapshots = ParentOf(real_folder);
  if (BaseName(snapshots) == "snapshots" && BaseName(ParentOf(snapshots)).starts_with("models--")) {
    root = ParentOf(snapshots);
    relative = "snapshots/" + std::string(BaseName(real_folder)) + "/" + relative;
  }
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return ErrnoStatus(path, errno);
  RILL_RETURN_IF_ERROR(CheckKind(path, info));
  if (!allow_openat2) return OpenByRealPath(root, path);

  const UniqueFd root_fd(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (root_fd.get() < 0) return ErrnoStatus(root, errno);
  struct open_how how = {};
  how.flags = static_cast<uint64_t>(kOpenFlags);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  for (int attempt = 0; attempt < 8; ++attempt) {
    const long fd = ::syscall(SYS_openat2, root_fd.get(), relative.c_str(), &how, sizeof how);
    if (fd >= 0) return Checked(static_cast<int>(fd), path);
    if (errno == EAGAIN) continue;  // a rename somewhere raced with the walk
    if (errno == EXDEV || errno == ELOOP) return OutsideError(path);
    // Old kernels say ENOSYS; some sandboxes say EPERM to every call they do not know.
    if (errno == ENOSYS || errno == EPERM) return OpenByRealPath(root, path);
    return ErrnoStatus(path, errno);
  }
  return OpenByRealPath(root, path);
}

Result<std::string> ReadAll(const OpenedFile& file, std::string_view path, size_t max_bytes) {
  if (file.size_bytes > max_bytes) {
    return ResourceExhausted(PrintableUtf8(path) + ": " + std::to_string(file.size_bytes) +
                             " bytes, limit " + std::to_string(max_bytes));
  }
  std::string text(file.size_bytes, '\0');
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n =
        ::pread(file.fd.get(), text.data() + done, text.size() - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      return FileError(PrintableUtf8(path) + ": reading: " + std::strerror(errno), errno);
    }
    if (n == 0) return DataLoss(PrintableUtf8(path) + ": the file shrank while it was read");
    done += static_cast<size_t>(n);
  }
  return text;
}

}  // namespace rill::io
