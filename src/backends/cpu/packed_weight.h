// CpuWeight: a weight matrix in panels (exec_format.h), and how it is made from file tensors.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/cpu/exec_format.h"
#include "base/thread_pool.h"
#include "ops/weight.h"
#include "rill/status.h"

namespace rill::cpu {

// Zero-filled bytes, aligned to 64; large ones to 2 MiB, with huge pages asked for.
class AlignedBytes {
 public:
  AlignedBytes() = default;
  // data() == nullptr when memory ran out.
  explicit AlignedBytes(int64_t size_bytes);
  ~AlignedBytes();
  AlignedBytes(AlignedBytes&& other) noexcept { *this = std::move(other); }
  AlignedBytes& operator=(AlignedBytes&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_bytes_, other.size_bytes_);
    std::swap(mapping_, other.mapping_);
    std::swap(mapped_bytes_, other.mapped_bytes_);
    return *this;
  }
  uint8_t* data() const { return static_cast<uint8_t*>(data_); }
  int64_t size_bytes() const { return size_bytes_; }

 private:
  void* data_ = nullptr;
  int64_t size_bytes_ = 0;
  void* mapping_ = nullptr;  // of large ones; data_ lies in it
  size_t mapped_bytes_ = 0;
};

// Memory for weights, one behind the other in chunks with huge pages: matrices of a small model in
// 4 KiB pages of their own cost a page walk every 4 KiB that a step reads.
class WeightMemory {
 public:
  struct Piece {
    uint8_t* data = nullptr;  // zeros, aligned to 64; nullptr when memory ran out
    int64_t size_bytes = 0;
    std::shared_ptr<AlignedBytes> chunk;  // lives as long as any piece of it
  };
  Piece Take(int64_t size_bytes);

 private:
  std::shared_ptr<AlignedBytes> chunk_;
  int64_t used_bytes_ = 0;
};

class CpuWeight : public ops::PackedWeight {
 public:
  // Rows of one source part: panels of one dtype.
  struct Segment {
    ExecId exec = ExecId::kNone;  // layout of the panels; kNone: plain elements of `dtype`
    DType dtype = DType::kF32;    // of the source (f8 parts are widened to f16, exactly)
    bool q8 = false;              // integer products with quantised activations
    int64_t group_units = 1;      // k / 32 that share a scale: wide formats; else 1
    int64_t row0 = 0;             // first logical row
    int64_t rows = 0;
    int64_t num_panels = 0;  // ceil(rows / 16)
    int64_t panel_bytes = 0;
    int64_t expert_bytes = 0;  // num_panels * panel_bytes
    const uint8_t* data = nullptr;

    const uint8_t* Panel(int64_t expert, int64_t panel) const {
      return data + expert * expert_bytes + panel * panel_bytes;
    }
  };

  // Errors: kInvalidArgument when shapes do not fit together, kUnsupported for a dtype without
  // kernels, kResourceExhausted when memory runs out.
  static Result<std::unique_ptr<CpuWeight>> Pack(const ops::WeightSource& source, ThreadPool& pool,
                                                 WeightMemory& memory);

  const std::vector<Segment>& segments() const { return segments_; }
  int64_t num_panels() const { return num_panels_; }  // of one expert, all segments
  // Whether integer products need sums of 16 activations.
  bool any_half_groups() const { return any_half_groups_; }
  // Stored column i is input Order(expert)[i]; nullptr: i (GPTQ's act-order).
  const int32_t* Order(int64_t expert) const {
    return order_.empty() ? nullptr : order_.data() + expert * cols_;
  }
  bool all_finite() const override { return all_finite_; }
  // Source view when only embedding reads it, in place; empty otherwise.
  const TensorView& in_place() const { return in_place_; }

  int64_t packed_bytes() const override { return memory_.size_bytes; }
  int64_t read_bytes() const override {
    return in_place_.empty() ? packed_bytes() : in_place_.SizeBytes();
  }
  std::span<const std::byte> packed_data() const override {
    if (!all_finite_) return {};  // to be looked at, and warned of, at every load
    return {reinterpret_cast<const std::byte*>(memory_.data),
            static_cast<size_t>(memory_.size_bytes)};
  }
  int64_t integer_rows() const override {
    int64_t rows = 0;
    for (const Segment& s : segments_) rows += s.q8 ? s.rows : 0;
    return rows;
  }
  std::string Describe() const override;

 private:
  void KeepOrder(const quant::RowReader& reader);

  std::vector<Segment> segments_;
  int64_t num_panels_ = 0;
  bool any_half_groups_ = false;
  bool all_finite_ = true;
  TensorView in_place_;
  std::vector<int32_t> order_;  // [num_experts, cols], or empty
  WeightMemory::Piece memory_;
};

// ops::Backend::PackedLayout of this backend.
std::string PanelLayoutName();

// One panel from up to 16 rows of k elements at `rows` (nullptr: a row of zeros). `out` must be
// zero-filled, PanelBytes long. `dtype` is the source's. Whether all numbers in the rows (scales,
// of blocks) are finite.
bool PackPanel(DType dtype, const uint8_t* const rows[kPanelRows], int64_t k, uint8_t* out);
// The same for a wide layout (exec_list.def), from rows that the caller has taken apart: `codes[r]`
// k bytes, one unsigned code each (two's complement for W8); `scales[r]` one a group, exact in f16
// where the layout keeps f16; `zeros[r]` one a group, or null. A null row is zeros.
struct WideRow {
  const uint8_t* codes = nullptr;
  const float* scales = nullptr;
  const uint8_t* zeros = nullptr;
};
bool PackWidePanel(ExecId exec, const WideRow (&rows)[kPanelRows], int64_t k, int64_t group_units,
                   uint8_t* out);
// Dtype of the plain panels that PackPanel makes of a source dtype.
DType PanelDType(DType dtype);
// Bytes of one panel: quantised, or plain elements.
int64_t PanelBytes(ExecId exec, int64_t k, int64_t group_units);
int64_t PanelBytes(DType dtype, int64_t k);
// Whether PackPanel knows the dtype.
bool CanPack(DType dtype);

}  // namespace rill::cpu
