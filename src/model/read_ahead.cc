#include "model/read_ahead.h"

#include <algorithm>
#include <system_error>

#include "io/mapped_file.h"

namespace rill::model {

void ReadAhead::Add(const std::vector<std::string>& names) {
  Matrix matrix;
  matrix.begin_bytes = total_bytes_;
  for (const std::string& name : names) {
    const io::TensorEntry* entry = tensors_.Find(name);
    if (entry == nullptr || entry->view.data == nullptr) continue;
    if (entry->file_index >= tensors_.files().size()) continue;  // made in memory
    // Parts of a fused matrix name one tensor each.
    if (std::any_of(matrix.pieces.begin(), matrix.pieces.end(), [&](const Piece& piece) {
          return piece.bytes.data() == reinterpret_cast<const std::byte*>(entry->view.data);
        })) {
      continue;
    }
    const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(entry->view.data),
                                           static_cast<size_t>(entry->view.SizeBytes()));
    matrix.pieces.push_back({tensors_.files()[entry->file_index].get(), bytes});
    total_bytes_ += entry->view.SizeBytes();
  }
  matrices_.push_back(std::move(matrix));
}

void ReadAhead::Start() {
  if (total_bytes_ == 0) return;
  try {
    thread_ = std::thread([this] { Read(); });
  } catch (const std::system_error&) {
  } catch (const std::bad_alloc&) {
  }
}

void ReadAhead::Begin(size_t index) {
  packing_.store(index, std::memory_order_release);
  packing_.notify_one();
}

ReadAhead::~ReadAhead() {
  Begin(SIZE_MAX);
  if (thread_.joinable()) thread_.join();
}

void ReadAhead::Read() {
  constexpr size_t kPiece = size_t{4} << 20;
  for (size_t i = 0; i < matrices_.size(); ++i) {
    int64_t at_bytes = matrices_[i].begin_bytes;
    for (const Piece& piece : matrices_[i].pieces) {
      for (size_t at = 0; at < piece.bytes.size(); at += kPiece) {
        size_t now = packing_.load(std::memory_order_acquire);
        while (now < i && at_bytes - matrices_[now].begin_bytes > window_bytes_) {
          packing_.wait(now);
          now = packing_.load(std::memory_order_acquire);
        }
        if (now == SIZE_MAX) return;
        const size_t size = std::min(kPiece, piece.bytes.size() - at);
        if (now <= i) piece.file->ReadAhead(piece.bytes.subspan(at, size));
        at_bytes += static_cast<int64_t>(size);
      }
    }
  }
}

}  // namespace rill::model
