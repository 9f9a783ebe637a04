// MappedFile: the bytes of one regular file, read-only, memory-mapped or read into memory.
//
// A mapping is what the file is *now*: when somebody truncates the file, a read beyond its new end
// raises SIGBUS. io/mapping_fault.h turns that into a message that names the file. With
// `use_mmap = false` the bytes are our own and nothing that happens to the file matters.
//
// Thread-safe (immutable). Not responsible for: parsing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "rill/status.h"

namespace rill::io {

struct OpenOptions {
  bool use_mmap = true;  // false: read the file into memory (a later truncation cannot hurt)
};

class MappedFile {
 public:
  // Errors: kNotFound; kInvalidArgument when it is not a regular file (folder, FIFO, device,
  // socket: none of them is ever waited for) or has 0 bytes; kResourceExhausted; kUnavailable when
  // reading failed.
  static Result<std::shared_ptr<const MappedFile>> Open(const std::string& path,
                                                        const OpenOptions& options = {});

  // `name` (a plain file name) inside `folder`. A symbolic link may not lead out of the folder
  // (out of the repository, in a Hugging Face hub cache, see io/safe_open.h).
  static Result<std::shared_ptr<const MappedFile>> OpenBeneath(const std::string& folder,
                                                               std::string_view name,
                                                               const OpenOptions& options = {});

  // Zeroed memory that lives and is looked at like a file: `path` is for messages. Its first
  // `writable_bytes`, in whole pages, can be written; the others are zeros that take no memory, and
  // so may be more than the machine has.
  static Result<std::shared_ptr<MappedFile>> Allocate(size_t size_bytes, std::string path,
                                                      size_t writable_bytes = SIZE_MAX);

  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  // Starts on a page boundary.
  std::span<const std::byte> bytes() const { return {data_, size_bytes_}; }
  std::byte* mutable_data() { return data_; }  // of Allocate()'s memory only
  bool is_mapped() const { return is_mapped_; }

  // Takes the mapping's pages out of this process: the page cache keeps them, and a later read maps
  // them again. For a mapping whose contents were copied elsewhere; nothing for other memory.
  void DropResidentPages() const;

  // Gives back the memory of the whole pages within `part` of bytes(), which nobody may need again:
  // what was read into memory is zeros from now on, a mapping is read from the file again.
  void Release(std::span<const std::byte> part) const;

  // The system begins to read `part` of a mapping from the disk, and this returns; nothing of bytes
  // read into memory, and where the system does not heed it.
  void ReadAhead(std::span<const std::byte> part) const;

  // kDataLoss when the file at path() is gone, another one, or has another size or time of change
  // than when it was opened. Always ok for bytes read into memory.
  Status CheckUnchanged() const;

 private:
  MappedFile() = default;
  static Result<std::shared_ptr<const MappedFile>> FromDescriptor(int fd, uint64_t size_bytes,
                                                                  std::string path,
                                                                  const OpenOptions& options);

  std::string path_;
  std::byte* data_ = nullptr;
  size_t size_bytes_ = 0;
  bool is_mapped_ = false;
  int fault_slot_ = -1;  // in the registry of io/mapping_fault.h
  uint64_t device_ = 0, inode_ = 0;
  int64_t changed_ns_ = 0;
};

}  // namespace rill::io
