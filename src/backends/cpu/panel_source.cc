#include "backends/cpu/panel_source.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/packed_weight.h"
#include "base/float_types.h"
#include "quant/dequant.h"
#include "quant/grouped.h"

namespace rill::cpu {
namespace {

ExecId GroupedExec(int bits, bool symmetric) {
  switch (bits) {
    case 2: return ExecId::kW2Zero;
    case 3: return ExecId::kW3Zero;
    case 8: return ExecId::kW8Zero;
    // The same integers either way; without zero points a header is a third smaller.
    default: return symmetric ? ExecId::kW4 : ExecId::kW4Zero;
  }
}

PartLayout ChooseLayout(DType dtype, int64_t k, const quant::RowReader* reader) {
  PartLayout layout;
  layout.dtype = dtype;
  if (const quant::GroupedFormat grouped = quant::GroupedFormatOf(dtype); grouped.bits > 0) {
    layout.exec = GroupedExec(grouped.bits, reader != nullptr && reader->symmetric());
    layout.group_units = grouped.group / kUnit;
  } else if (dtype == DType::kI8 && k % kUnit == 0) {
    layout.exec = ExecId::kW8;
    layout.group_units = k / kUnit;
  } else if (dtype == DType::kI8) {
    layout.dtype = DType::kF32;
  } else {
    layout.exec = ExecOf(dtype);
    layout.dtype = PanelDType(dtype);
  }
  const int64_t bytes = layout.exec != ExecId::kNone
                            ? PanelBytes(layout.exec, k, layout.group_units)
                            : PanelBytes(layout.dtype, k);
  layout.panel_bytes = (bytes + 63) / 64 * 64;
  return layout;
}

// Blocks of u<bits>g<B> (quant/grouped.h: f16 scale, zero point, codes) to one byte a code.
template <int kBits>
void TakeApart(const uint8_t* row, int64_t k, int64_t group, uint8_t* codes, float* scales,
               uint8_t* zeros) {
  for (int64_t g = 0; g < k / group; ++g, row += group * kBits / 8, codes += group) {
    uint16_t half;
    int16_t zero;
    std::memcpy(&half, row, 2);
    std::memcpy(&zero, row + 2, 2);
    row += 4;
    scales[g] = F16ToF32(half);
    zeros[g] = static_cast<uint8_t>(zero);
    if constexpr (kBits == 8) {
      std::memcpy(codes, row, static_cast<size_t>(group));
    } else if constexpr (kBits == 4) {
      for (int64_t i = 0; i < group / 2; ++i) {
        codes[2 * i] = row[i] & 15;
        codes[2 * i + 1] = row[i] >> 4;
      }
    } else {
      for (int i = 0; i < group; ++i) {
        codes[i] = static_cast<uint8_t>(quant::GroupedCode<kBits>(row, i));
      }
    }
  }
}

}  // namespace

Result<PanelSource> PanelSource::Make(const TensorView& part, const quant::RowReader* reader) {
  if (reader == nullptr && (part.data == nullptr || part.dtype == DType::kI8)) {
    return Unsupported("the cpu backend has no kernel for " + std::string(DTypeName(part.dtype)) +
                       " without its scales");
  }
  const bool codes = quant::GroupedFormatOf(part.dtype).bits > 0 || part.dtype == DType::kI8;
  if (!codes && !CanPack(part.dtype)) {
    return Unsupported("the cpu backend has no kernel for " + std::string(DTypeName(part.dtype)));
  }
  PanelSource source;
  source.part_ = part;
  source.reader_ = reader;
  source.num_rows_ = part.dim(part.rank() - 2);
  source.k_ = part.dim(part.rank() - 1);
  source.layout_ = ChooseLayout(part.dtype, source.k_, reader);
  return source;
}

bool PanelSource::Pack(int64_t expert, int64_t panel, Buffers& b, uint8_t* out) const {
  const int64_t row_bytes = *RowBytes(part_.dtype, k_);
  const int64_t first = panel * kPanelRows;
  const int64_t n = std::min<int64_t>(kPanelRows, num_rows_ - first);
  const uint8_t* rows[kPanelRows] = {};
  float row_scales[kPanelRows] = {};
  if (reader_ != nullptr) {
    b.rows.resize(static_cast<size_t>(kPanelRows * row_bytes));
    reader_->Read(expert, first, n, b.rows.data(), row_scales);
    for (int64_t r = 0; r < n; ++r) rows[r] = b.rows.data() + r * row_bytes;
  } else {
    const DTypeTraits& traits = Traits(part_.dtype);
    const auto stride = [&](int dim) {
      return part_.stride(dim) / traits.block_weights * traits.block_bytes;
    };
    const auto* base =
        reinterpret_cast<const uint8_t*>(part_.data) + (part_.rank() == 3 ? expert * stride(0) : 0);
    for (int64_t r = 0; r < n; ++r) rows[r] = base + (first + r) * stride(part_.rank() - 2);
  }

  const int bits = quant::GroupedFormatOf(part_.dtype).bits;
  if (bits > 0 || layout_.exec == ExecId::kW8) {
    const int64_t group = layout_.group_units * kUnit, groups = k_ / group;
    WideRow wide[kPanelRows];
    if (layout_.exec == ExecId::kW8) {
      for (int64_t r = 0; r < n; ++r) wide[r] = {rows[r], row_scales + r, nullptr};
    } else {
      b.codes.resize(static_cast<size_t>(kPanelRows * k_));
      b.values.resize(static_cast<size_t>(kPanelRows * groups));
      b.zeros.resize(static_cast<size_t>(kPanelRows * groups));
      for (int64_t r = 0; r < n; ++r) {
        uint8_t* codes = b.codes.data() + r * k_;
        float* scales = b.values.data() + r * groups;
        uint8_t* zeros = b.zeros.data() + r * groups;
        const auto take_apart = bits == 2   ? TakeApart<2>
                                : bits == 3 ? TakeApart<3>
                                : bits == 4 ? TakeApart<4>
                                            : TakeApart<8>;
        take_apart(rows[r], k_, group, codes, scales, zeros);
        wide[r] = {codes, scales, zeros};
      }
    }
    return PackWidePanel(layout_.exec, wide, k_, layout_.group_units, out);
  }
  if (part_.dtype == DType::kI8) {
    b.values.resize(static_cast<size_t>(kPanelRows * k_));
    for (int64_t r = 0; r < n; ++r) {
      float* row = b.values.data() + r * k_;
      const Status decoded = quant::DequantizeRow(part_.dtype, rows[r], k_, row);
      CHECK(decoded.ok()) << decoded.message();  // whole blocks were checked before
      for (int64_t i = 0; i < k_; ++i) row[i] *= row_scales[r];
      rows[r] = reinterpret_cast<const uint8_t*>(row);
    }
    return PackPanel(DType::kF32, rows, k_, out);
  }
  return PackPanel(part_.dtype, rows, k_, out);
}

}  // namespace rill::cpu
