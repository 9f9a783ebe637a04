// TensorDirectory: the tensors of a model on disk, by name. Views point into memory-mapped files
// that the directory keeps alive; nothing is converted or copied.
//
// Thread-safe once built (immutable). Copies share the mappings.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "rill/status.h"
#include "tensor/tensor_view.h"

namespace rill::io {

class MappedFile;

struct TensorEntry {
  std::string name;
  TensorView view;          // outermost dimension first, contiguous: GGUF's order is reversed here
  uint32_t file_index = 0;  // into TensorDirectory::files()
  uint64_t offset_bytes = 0;  // of the data in that file
};

class TensorDirectory {
 public:
  // Errors: kInvalidArgument on a duplicate name.
  Status Add(TensorEntry entry);
  uint32_t AddFile(std::shared_ptr<const MappedFile> file);

  // nullptr when absent.
  const TensorEntry* Find(std::string_view name) const;
  std::span<const TensorEntry> entries() const { return entries_; }
  std::span<const std::shared_ptr<const MappedFile>> files() const { return files_; }
  uint64_t TotalBytes() const;

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
  };
  std::vector<TensorEntry> entries_;
  std::unordered_map<std::string, size_t, Hash, std::equal_to<>> by_name_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
};

}  // namespace rill::io
