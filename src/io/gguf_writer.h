// GgufWriter: the header of a GGUF v3 file (see io/gguf.h). Metadata and tensors keep the order in
// which they were added; the caller puts the tensors' bytes where offset() says.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"

namespace rill::io {

class GgufWriter {
 public:
  void Add(std::string_view key, std::string_view text);
  void Add(std::string_view key, uint32_t value);
  void Add(std::string_view key, float value);
  void Add(std::string_view key, bool value);
  void Add(std::string_view key, std::span<const std::string> texts);
  void Add(std::string_view key, std::span<const float> values);
  void Add(std::string_view key, std::span<const int32_t> values);
  // `dims` outermost first; `dtype` must have a GGUF id and rows of whole blocks (CHECK).
  void AddTensor(std::string_view name, const std::vector<int64_t>& dims, DType dtype);

  // Bytes before the first tensor's, padded.
  std::string Header() const;
  // Of tensor `index` from the end of Header(), a multiple of kAlignment.
  int64_t offset(size_t index) const { return offsets_[index]; }
  int64_t size_bytes(size_t index) const { return sizes_[index]; }
  size_t num_tensors() const { return offsets_.size(); }
  // Of all tensors, padded.
  int64_t data_bytes() const { return next_offset_; }

  static constexpr int64_t kAlignment = 32;

 private:
  std::string pairs_, infos_;
  uint64_t num_pairs_ = 0;
  std::vector<int64_t> offsets_, sizes_;
  int64_t next_offset_ = 0;
};

}  // namespace rill::io
