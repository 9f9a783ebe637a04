// Opening files that a model names: never a device, never outside the model's folder.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "rill/status.h"

namespace rill::io {

// Owns a file descriptor. Move-only.
class UniqueFd {
 public:
  explicit UniqueFd(int fd = -1) : fd_(fd) {}
  ~UniqueFd();
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

struct OpenedFile {
  UniqueFd fd;
  uint64_t size_bytes = 0;
};

// Opens a non-empty regular file to read. A FIFO, device, socket or folder is refused at once
// (never waited for), and so is an empty file.
// Errors: those of FileError (rill/file_error.h), and kInvalidArgument for what is no such file.
Result<OpenedFile> OpenRegularFile(const std::string& path);

// The same for `name` inside `folder`, as openat2(RESOLVE_BENEATH) does it: absolute names, "..",
// slashes and symbolic links that lead outside are kInvalidArgument. In a snapshot of a Hugging
// Face hub cache (…/models--owner--name/snapshots/<revision>), whose files are links to
// ../../blobs, the border is the repository folder models--owner--name.
// `allow_openat2 = false` takes the way for kernels that lack the call; for tests.
Result<OpenedFile> OpenRegularFileBeneath(const std::string& folder, std::string_view name,
                                          bool allow_openat2 = true);

// Is `name` a plain file name: not empty, no '/', no NUL, not "." or "..", at most 255 bytes?
bool IsPlainFileName(std::string_view name);

// All bytes of an opened file, at most max_bytes (kResourceExhausted above).
Result<std::string> ReadAll(const OpenedFile& file, std::string_view path, size_t max_bytes);

}  // namespace rill::io
