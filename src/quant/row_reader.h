// RowReader: rows of a matrix [rows, cols] that do not lie in its file as rows: packed along
// another axis (AWQ, GPTQ), in several tensors (experts), or made at load (--weights). A backend
// asks for the few rows that it packs next, so no converted copy of a model ever exists.
//
// Thread-safe: immutable, and every call writes only to its own arguments.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/dtype.h"

namespace rill::quant {

class RowReader {
 public:
  virtual ~RowReader() = default;
  DType dtype() const { return dtype_; }  // of the rows that Read writes
  int64_t num_experts() const { return num_experts_; }
  int64_t rows() const { return rows_; }  // of one expert
  int64_t cols() const { return cols_; }  // whole blocks of dtype()

  // Rows [begin, begin + count) of `expert`, one after another, RowBytes(dtype(), cols()) each.
  // dtype i8: the weight is scales[row - begin] * element. Other types ignore `scales`.
  virtual void Read(int64_t expert, int64_t begin, int64_t count, uint8_t* out,
                    float* scales) const = 0;
  // Element i of a row belongs to input order[i] (a permutation; GPTQ's act-order). Empty: i
  // itself.
  virtual std::span<const int32_t> Order(int64_t expert) const {
    (void)expert;
    return {};
  }

  // u4g<B>: every zero point is known to be 8, so that a backend need not keep them.
  virtual bool symmetric() const { return false; }

 protected:
  RowReader(DType dtype, int64_t num_experts, int64_t rows, int64_t cols)
      : dtype_(dtype), num_experts_(num_experts), rows_(rows), cols_(cols) {}

 private:
  DType dtype_;
  int64_t num_experts_, rows_, cols_;
};

}  // namespace rill::quant
