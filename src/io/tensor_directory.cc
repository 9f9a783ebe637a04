#include "io/tensor_directory.h"

#include "base/utf8.h"

namespace rill::io {

Status TensorDirectory::Add(TensorEntry entry) {
  const auto [it, inserted] = by_name_.try_emplace(entry.name, entries_.size());
  if (!inserted) {
    return InvalidArgument("duplicate tensor name '" + PrintableUtf8(entry.name) + "'");
  }
  entries_.push_back(std::move(entry));
  return OkStatus();
}

uint32_t TensorDirectory::AddFile(std::shared_ptr<const MappedFile> file) {
  files_.push_back(std::move(file));
  return static_cast<uint32_t>(files_.size() - 1);
}

const TensorEntry* TensorDirectory::Find(std::string_view name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &entries_[it->second];
}

uint64_t TensorDirectory::TotalBytes() const {
  uint64_t total = 0;
  for (const TensorEntry& entry : entries_) {
    total += static_cast<uint64_t>(entry.view.SizeBytes());
  }
  return total;
}

}  // namespace rill::io
