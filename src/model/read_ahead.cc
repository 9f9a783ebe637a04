#include "model/read_ahead.h"

#include <algorithm>

#include "io/mapped_file.h"

namespace rill::model {

void ReadAhead::Add(const std::vector<std::string>& names) {
  Matrix matrix;
  for (const std::string& name : names) {
    const io::TensorEntry* entry = tensors_.Find(name);
    if (entry == nullptr || entry->view.data == nullptr) continue;
    if (entry->file_index >= tensors_.files().size()) continue;  // made in memory
    const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(entry->view.data),
                                           static_cast<size_t>(entry->view.SizeBytes()));
    matrix.pieces.push_back({tensors_.files()[entry->file_index].get(), bytes});
    matrix.size_bytes += entry->view.SizeBytes();
  }
  matrices_.push_back(std::move(matrix));
}

void ReadAhead::Begin(size_t index) {
  if (index < next_) ahead_bytes_ -= matrices_[index].size_bytes;
  next_ = std::max(next_, index + 1);
  while (next_ < matrices_.size() && ahead_bytes_ < kWindowBytes) {
    const Matrix& matrix = matrices_[next_++];
    ahead_bytes_ += matrix.size_bytes;
    // Of a huge one (all experts of a layer) the beginning: the rest is read as it is packed.
    int64_t left = kWindowBytes;
    for (const Piece& piece : matrix.pieces) {
      const auto size = std::min(piece.bytes.size(), static_cast<size_t>(left));
      piece.file->ReadAhead(piece.bytes.first(size));
      left -= static_cast<int64_t>(size);
      if (left == 0) break;
    }
  }
}

}  // namespace rill::model
