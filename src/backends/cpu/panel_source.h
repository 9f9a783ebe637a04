// PanelSource: the rows of one part of a weight, in memory or from a reader, packed 16 at a time
// into panels of the layout that the part's dtype has.
//
// Thread-safe; each thread brings its own Buffers.
#pragma once

#include <vector>

#include "backends/cpu/exec_format.h"
#include "quant/row_reader.h"
#include "rill/status.h"
#include "tensor/tensor_view.h"

namespace rill::cpu {

// How a part is kept.
struct PartLayout {
  ExecId exec = ExecId::kNone;
  DType dtype = DType::kF32;  // of plain elements, when exec is kNone; else the source's
  int64_t group_units = 1;    // k / 32 that share a scale: wide formats
  int64_t panel_bytes = 0;
};

class PanelSource {
 public:
  struct Buffers {
    std::vector<uint8_t> rows, codes, zeros;
    std::vector<float> values;
  };

  // `part` is [rows, k] or [num_experts, rows, k]; `reader` may be null. Both must outlive this.
  // Errors: kUnsupported, without the weight's name, when nothing packs the dtype.
  static Result<PanelSource> Make(const TensorView& part, const quant::RowReader* reader);

  const PartLayout& layout() const { return layout_; }
  // Panel `panel` of `expert`; `out` is zero-filled, layout().panel_bytes long. Whether all numbers
  // of its rows are finite.
  bool Pack(int64_t expert, int64_t panel, Buffers& buffers, uint8_t* out) const;

 private:
  PanelSource() = default;

  TensorView part_;
  const quant::RowReader* reader_ = nullptr;
  PartLayout layout_;
  int64_t num_rows_ = 0, k_ = 0;
};

}  // namespace rill::cpu
