#include "io/mapped_file.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/utf8.h"
#include "io/mapping_fault.h"
#include "io/safe_open.h"
#include "rill/file_error.h"

namespace rill::io {
namespace {

int64_t ChangeTimeNs(const struct stat& info) {
  return int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
}

Status ReadInto(int fd, std::byte* data, size_t size_bytes, const std::string& path) {
  constexpr size_t kChunk = size_t{1} << 30;  // one read() moves at most 2 GiB - 4 KiB
  for (size_t done = 0; done < size_bytes;) {
    const size_t want = size_bytes - done < kChunk ? size_bytes - done : kChunk;
    const ssize_t n = ::pread(fd, data + done, want, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FileError(PrintableUtf8(path) + ": reading: " + std::strerror(errno), errno);
    if (n == 0) return DataLoss(PrintableUtf8(path) + ": the file shrank while it was read");
    done += static_cast<size_t>(n);
  }
  return OkStatus();
}

}  // namespace

Result<std::shared_ptr<MappedFile>> MappedFile::Allocate(size_t size_bytes, std::string path,
                                                         size_t writable_bytes) {
  const size_t mapped_bytes = size_bytes ? size_bytes : 1;
  // What cannot be written counts against no limit of the machine's memory.
  const bool is_whole = writable_bytes >= size_bytes;
  void* data = ::mmap(nullptr, mapped_bytes, is_whole ? PROT_READ | PROT_WRITE : PROT_READ,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data != MAP_FAILED && !is_whole && writable_bytes > 0 &&
      ::mprotect(data, writable_bytes, PROT_READ | PROT_WRITE) != 0) {
    ::munmap(data, mapped_bytes);
    data = MAP_FAILED;
  }
  if (data == MAP_FAILED) {
    return ResourceExhausted(PrintableUtf8(path) + ": no memory for its " +
                             std::to_string(size_bytes) + " bytes");
  }
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = std::move(path);
  file->data_ = static_cast<std::byte*>(data);
  file->size_bytes_ = size_bytes;
  return file;
}

Result<std::shared_ptr<const MappedFile>> MappedFile::FromDescriptor(int fd, uint64_t size_bytes,
                                                                     std::string path,
                                                                     const OpenOptions& options) {
  if (size_bytes > SIZE_MAX) {
    return ResourceExhausted(PrintableUtf8(path) + ": too large for this machine's addresses");
  }
  if (!options.use_mmap) {
    RILL_ASSIGN_OR_RETURN(std::shared_ptr<MappedFile> file, Allocate(size_bytes, std::move(path)));
    RILL_RETURN_IF_ERROR(ReadInto(fd, file->data_, file->size_bytes_, file->path_));
    return std::shared_ptr<const MappedFile>(std::move(file));
  }
  // MAP_PRIVATE: pages nobody wrote stay shared with the page cache.
  void* data = ::mmap(nullptr, size_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
  if (data == MAP_FAILED) {
    return ResourceExhausted(PrintableUtf8(path) + ": cannot be mapped: " + std::strerror(errno));
  }
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = std::move(path);
  file->data_ = static_cast<std::byte*>(data);
  file->size_bytes_ = size_bytes;
  file->is_mapped_ = true;
  file->fault_slot_ = RegisterMapping(data, size_bytes, file->path_.c_str());
  struct stat info;
  if (::fstat(fd, &info) == 0) {
    file->device_ = info.st_dev;
    file->inode_ = info.st_ino;
    file->changed_ns_ = ChangeTimeNs(info);
  }
  return std::shared_ptr<const MappedFile>(std::move(file));
}

Result<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::string& path,
                                                           const OpenOptions& options) {
  RILL_ASSIGN_OR_RETURN(OpenedFile opened, OpenRegularFile(path));
  return FromDescriptor(opened.fd.get(), opened.size_bytes, path, options);
}

Result<std::shared_ptr<const MappedFile>> MappedFile::OpenBeneath(const std::string& folder,
                                                                  std::string_view name,
                                                                  const OpenOptions& options) {
  RILL_ASSIGN_OR_RETURN(OpenedFile opened, OpenRegularFileBeneath(folder, name));
  return FromDescriptor(opened.fd.get(), opened.size_bytes, folder + "/" + std::string(name),
                        options);
}

MappedFile::~MappedFile() {
  UnregisterMapping(fault_slot_);
  if (data_) ::munmap(data_, size_bytes_ ? size_bytes_ : 1);
}

void MappedFile::DropResidentPages() const {
  if (is_mapped_) ::madvise(data_, size_bytes_, MADV_DONTNEED);
}

void MappedFile::Release(std::span<const std::byte> part) const {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<uintptr_t>(part.data());
  const uintptr_t begin = (address + page - 1) / page * page;
  const uintptr_t end = (address + part.size()) / page * page;
  if (end > begin) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

void MappedFile::ReadAhead(std::span<const std::byte> part) const {
  if (!is_mapped_ || part.empty()) return;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<uintptr_t>(part.data());
  const uintptr_t begin = address / page * page;
  const uintptr_t last = (address + part.size() - 1) / page * page;
  // Asking for what is there takes 4 % of the start of a model in the page cache (1.1B Q4_0).
  const auto is_there = [&](uintptr_t at) {
    unsigned char resident = 0;
    return ::mincore(reinterpret_cast<void*>(at), page, &resident) == 0 && (resident & 1) != 0;
  };
  if (is_there(begin) && is_there(last)) return;
  ::madvise(reinterpret_cast<void*>(begin), last + page - begin, MADV_WILLNEED);
}

Status MappedFile::CheckUnchanged() const {
  if (!is_mapped_) return OkStatus();
  struct stat info;
  if (::stat(path_.c_str(), &info) != 0) {
    return DataLoss(PrintableUtf8(path_) + ": the file is gone");
  }
  if (info.st_dev != device_ || info.st_ino != inode_) {
    return DataLoss(PrintableUtf8(path_) + ": the file was replaced by another one");
  }
  if (static_cast<uint64_t>(info.st_size) != size_bytes_ || ChangeTimeNs(info) != changed_ns_) {
    return DataLoss(PrintableUtf8(path_) +
                    ": the file was changed while it was open: " + std::to_string(size_bytes_) +
                    " bytes when opened, " + std::to_string(info.st_size) + " now");
  }
  return OkStatus();
}

}  // namespace rill::io
