// PackedWeight: weight matrices in the layout that a backend's kernels read.
//
// A backend packs weights at load: lossless (the same represented numbers), one copy for every
// batch size. Ops see only its logical shape; what is inside belongs to the backend.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quant/row_reader.h"
#include "tensor/tensor_view.h"

namespace rill::ops {

// How activations enter a matrix product. Part of the arithmetic, so a load option, never chosen
// by ISA.
enum class ActivationMode : uint8_t {
  kF32,  // f32 activations, f32 FMA against the exactly decoded weight
  kQ8,   // activations to int8 per group of 32 (see linear.h), integer dot inside the group.
         // Weights in f32/f16/bf16 still use f32 activations
};

// What PackedWeight::packed_data() of an earlier load was, from wherever it was kept.
//
// Thread-safe: a backend reads pieces on all its threads.
class PackedBytes {
 public:
  static constexpr int64_t kPieceBytes = int64_t{256} << 10;
  virtual ~PackedBytes() = default;
  virtual int64_t size_bytes() const = 0;
  // Bytes [begin, begin + out.size()): begin is a multiple of kPieceBytes, out a whole piece or
  // what is left. false: they are not what was kept, and `out` holds anything.
  virtual bool Read(int64_t begin, std::span<std::byte> out) const = 0;
};

struct WeightSource {
  std::string name;  // for errors and logs: "blk.0.attn_qkv"
  // Row blocks stacked in order: q, k, v make one [Nq + Nk + Nv, K] matrix. Each [N_i, K], any
  // dtype (they may differ), same K. With experts: each [num_experts, N_i, K].
  // The views' memory must outlive the PackedWeight (a backend may read it in place).
  std::vector<TensorView> parts;
  // readers[i], where set, makes the rows of parts[i], whose view then has shape and dtype but no
  // data. Empty, or one a part. A backend keeps what it needs after packing alive.
  // dtype i8: w = scale[n] * element, one f32 scale a row from the reader.
  // Order() of all parts, expert by expert, is the same.
  std::vector<std::shared_ptr<const quant::RowReader>> readers;
  // true: two parts of equal N are stacked row by row (gate_0, up_0, gate_1, …) so that a fused
  // kernel finds each pair side by side. Logical row order is still parts[0] then parts[1].
  bool paired = false;
  // true: also read row-wise by ops::embedding (a tied or a plain embedding table).
  bool row_access = false;
  // false: only embedding() reads it; the backend should keep the file's own bytes.
  bool matmul = true;
  ActivationMode activations = ActivationMode::kF32;
  // May be null. Made by this Backend::PackedLayout() of this very source: a backend may take its
  // bytes instead of packing, and packs where their size is another or Read fails.
  const PackedBytes* packed = nullptr;
};

// The reader of parts[i], or null.
inline const quant::RowReader* ReaderOf(const WeightSource& source, size_t i) {
  return i < source.readers.size() ? source.readers[i].get() : nullptr;
}

class PackedWeight {
 public:
  virtual ~PackedWeight() = default;
  const std::string& name() const { return name_; }
  int64_t num_experts() const { return num_experts_; }  // 1 when not a mixture
  int64_t rows() const { return rows_; }                // N, of one expert
  int64_t cols() const { return cols_; }                // K
  bool paired() const { return paired_; }
  // Bytes owned besides the source views (0 when read in place).
  virtual int64_t packed_bytes() const = 0;
  // What a PackedBytes of a later load has to give; empty when there is nothing to keep. Lives as
  // long as this.
  virtual std::span<const std::byte> packed_data() const { return {}; }
  // Bytes that products with the whole matrix (all experts) read once.
  virtual int64_t read_bytes() const { return packed_bytes(); }
  // Of rows(): those whose products are integer dot products with quantised activations. The
  // others' are f32 fma.
  virtual int64_t integer_rows() const { return 0; }
  // false: a number that was packed, or is read in place, is NaN or Inf. true also of a backend
  // that does not look.
  virtual bool all_finite() const { return true; }
  // "panel16 q4_1 x q8", for logs and `rill inspect`.
  virtual std::string Describe() const = 0;

 protected:
  std::string name_;
  int64_t num_experts_ = 1;
  int64_t rows_ = 0;
  int64_t cols_ = 0;
  bool paired_ = false;
};

}  // namespace rill::ops
