// ReadAhead: a thread that lets the disk read the matrices that are packed next while the CPUs pack
// one. Without it a mapped file is read where packing touches it, and packing waits.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "io/tensor_directory.h"

namespace rill::model {

// Of one thread, but for what it starts itself.
class ReadAhead {
 public:
  // Asked for and not yet packed, at most, but for one matrix. More would only push others' pages
  // out of a small machine's memory.
  static constexpr int64_t kWindowBytes = int64_t{64} << 20;

  // `tensors` must outlive this.
  explicit ReadAhead(const io::TensorDirectory& tensors, int64_t window_bytes = kWindowBytes)
      : tensors_(tensors), window_bytes_(window_bytes) {}
  ~ReadAhead();
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  // One more matrix, in the order of packing, by the names of its tensors; each counts once.
  void Add(const std::vector<std::string>& names);
  // After the last Add. Where no thread can be started, files are read as they are packed.
  void Start();
  // Matrix `index` is packed now. Indices ascend.
  void Begin(size_t index);

 private:
  struct Piece {
    const io::MappedFile* file;
    std::span<const std::byte> bytes;
  };
  struct Matrix {
    std::vector<Piece> pieces;
    int64_t begin_bytes = 0;  // of all matrices before it
  };
  void Read();

  const io::TensorDirectory& tensors_;
  const int64_t window_bytes_;
  std::vector<Matrix> matrices_;
  int64_t total_bytes_ = 0;
  std::atomic<size_t> packing_{0};  // the matrix that is packed; SIZE_MAX: no more
  std::thread thread_;
};

}  // namespace rill::model
