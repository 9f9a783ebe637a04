// ReadAhead: the disk reads the matrices that are packed next while the CPUs pack one. Without it a
// mapped file is read where packing touches it, a window of the system's at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "io/tensor_directory.h"

namespace rill::model {

class ReadAhead {
 public:
  // Asked for and not yet packed, at most, but for one matrix: 32 ms of a disk of 2 GB/s. More
  // would only push others' pages out of a small machine's memory.
  static constexpr int64_t kWindowBytes = int64_t{64} << 20;

  // `tensors` must outlive this.
  explicit ReadAhead(const io::TensorDirectory& tensors) : tensors_(tensors) {}

  // One more matrix, in the order of packing, by the names of its tensors.
  void Add(const std::vector<std::string>& names);
  // Matrix `index` is packed now: those behind it are asked for. Indices ascend.
  void Begin(size_t index);

 private:
  struct Piece {
    const io::MappedFile* file;
    std::span<const std::byte> bytes;
  };
  struct Matrix {
    std::vector<Piece> pieces;
    int64_t size_bytes = 0;
  };

  const io::TensorDirectory& tensors_;
  std::vector<Matrix> matrices_;
  size_t next_ = 0;          // the first that was not asked for
  int64_t ahead_bytes_ = 0;  // of matrices that were asked for and whose packing has not begun
};

}  // namespace rill::model
