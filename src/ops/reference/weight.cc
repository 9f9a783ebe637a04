#include "ops/reference/weight.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "base/checked_math.h"
#include "quant/dequant.h"
#include "quant/grouped.h"
#include "quant/view_rows.h"

namespace rill::ops::reference {
namespace {

// Activations per scale, as linear.h says: that of the weight, but at least 32.
int64_t GroupOf(DType dtype, int64_t cols) {
  if (dtype == DType::kI8) return cols % 32 == 0 ? cols : 0;
  if (const int64_t group = quant::GroupedFormatOf(dtype).group) return group;
  return IsQuantBlock(dtype) ? 32 : 0;
}

}  // namespace

Result<std::unique_ptr<PackedWeight>> ReferenceWeight::Make(const WeightSource& source) {
  const auto fail = [&](const std::string& what) {
    return InvalidArgument("weight '" + source.name + "': " + what);
  };
  if (source.parts.empty()) return fail("expected at least one part, got none");
  if (source.paired &&
      (source.parts.size() != 2 || source.parts[0].shape != source.parts[1].shape)) {
    return fail("a paired weight needs two parts of the same shape");
  }
  auto weight = std::make_unique<ReferenceWeight>();
  weight->name_ = source.name;
  weight->paired_ = source.paired;
  weight->activations_ = source.activations;
  for (const TensorView& part : source.parts) {
    const int rank = part.rank();
    const TensorView& first = source.parts[0];
    if ((rank != 2 && rank != 3) || rank != first.rank()) {
      return fail("expected parts [rows, cols] or [num_experts, rows, cols], got " +
                  part.shape.ToString());
    }
    if (part.dim(rank - 1) != first.dim(rank - 1) || (rank == 3 && part.dim(0) != first.dim(0))) {
      return fail("parts " + first.shape.ToString() + " and " + part.shape.ToString() +
                  " do not stack");
    }
    const quant::RowReader* reader = ReaderOf(source, weight->parts_.size());
    if (part.empty() && reader == nullptr && part.shape.NumElements() != 0) {
      return fail("a part has no data");
    }
    if (reader != nullptr && source.row_access && !reader->Order(0).empty()) {
      return fail("rows in another order than the input's cannot be an embedding");
    }
    if (!RowBytes(part.dtype, part.dim(rank - 1))) {
      return fail("row of " + std::to_string(part.dim(rank - 1)) + " values is not a multiple of " +
                  std::string(DTypeName(part.dtype)) + "'s block");
    }
    const auto rows = CheckedAdd(weight->rows_, part.dim(rank - 2));
    if (!rows) return fail("too many rows");
    weight->rows_ = *rows;
    weight->cols_ = part.dim(rank - 1);
    weight->num_experts_ = rank == 3 ? part.dim(0) : 1;
    weight->parts_.push_back(part);
    weight->readers_.push_back(reader != nullptr ? source.readers[weight->parts_.size() - 1]
                                                 : nullptr);
  }
  return std::unique_ptr<PackedWeight>(std::move(weight));
}

std::string ReferenceWeight::Describe() const {
  std::string text = "in place";
  for (const TensorView& part : parts_) {
    const std::string name(DTypeName(part.dtype));
    if (text.find(" " + name) == std::string::npos) text += " " + name;
  }
  return text + (activations_ == ActivationMode::kQ8 ? " x q8" : " x f32");
}

ReferenceWeight::Place ReferenceWeight::Find(int64_t row) const {
  for (size_t i = 0; i < parts_.size(); ++i) {
    const int64_t rows = parts_[i].dim(parts_[i].rank() - 2);
    if (row < rows) return {i, row};
    row -= rows;
  }
  CHECK(false) << "weight '" << name_ << "' has no row " << row;
  return {};
}

void ReferenceWeight::DecodeRow(int64_t expert, int64_t row, float* out) const {
  const Place place = Find(row);
  if (readers_[place.part] != nullptr) {
    return quant::DecodeRow(*readers_[place.part], expert, place.row, out);
  }
  const TensorView& part = parts_[place.part];
  const DTypeTraits& traits = Traits(part.dtype);
  int64_t offset = place.row * part.stride(part.rank() - 2);
  if (part.rank() == 3) offset += expert * part.stride(0);
  const std::byte* data = part.data + offset / traits.block_weights * traits.block_bytes;
  const Status decoded = quant::DequantizeRow(part.dtype, data, cols_, out);
  CHECK(decoded.ok()) << decoded.message();  // dtype and length were checked at creation
}

std::span<const int32_t> ReferenceWeight::Order(int64_t expert) const {
  return readers_[0] != nullptr ? readers_[0]->Order(expert) : std::span<const int32_t>();
}

int64_t ReferenceWeight::ActivationGroup(int64_t row) const {
  return activations_ == ActivationMode::kQ8 ? GroupOf(parts_[Find(row).part].dtype, cols_) : 0;
}

void QuantiseActivations(std::span<const float> x, size_t group, std::span<double> out) {
  for (size_t begin = 0; begin < x.size(); begin += group) {
    const size_t end = std::min(x.size(), begin + group);
    float max = 0;
    bool finite = true;
    for (size_t k = begin; k < end; ++k) {
      finite = finite && std::isfinite(x[k]);
      max = std::max(max, std::fabs(x[k]));
    }
    if (max < 0x1p-100f) max = 0;  // 127 / max stays far from overflow
    const float d = max / 127.0f;
    const float inverse = d == 0 ? 0 : 127.0f / max;
    for (size_t k = begin; k < end; ++k) {
      const double q = std::clamp(std::nearbyint(x[k] * inverse), -127.0f, 127.0f);
      out[k] = !finite ? std::numeric_limits<double>::quiet_NaN() : double{d} * q;
    }
  }
}

void Products(const ReferenceWeight& w, int64_t expert, std::span<const float* const> x,
              int64_t first_row, int64_t num_rows, std::vector<double>& products) {
  const size_t cols = static_cast<size_t>(w.cols());
  const size_t rows = static_cast<size_t>(num_rows);
  products.assign(x.size() * rows, 0.0);
  // Activations in the order in which the weight stores its columns.
  const std::span<const int32_t> order = w.Order(expert);
  std::vector<float> stored(x.size() * cols);
  for (size_t t = 0; t < x.size(); ++t) {
    for (size_t k = 0; k < cols; ++k) {
      stored[t * cols + k] = x[t][order.empty() ? k : static_cast<size_t>(order[k])];
    }
  }
  const std::vector<double> exact(stored.begin(), stored.end());
  std::map<int64_t, std::vector<double>> quantised;  // by group
  std::vector<float> decoded(cols);
  std::vector<double> row(cols);
  for (size_t n = 0; n < rows; ++n) {
    const int64_t index = first_row + static_cast<int64_t>(n);
    w.DecodeRow(expert, index, decoded.data());
    std::copy(decoded.begin(), decoded.end(), row.begin());
    const int64_t group = w.ActivationGroup(index);
    if (group > 0 && !quantised.contains(group)) {
      std::vector<double>& values = quantised[group];
      values.resize(x.size() * cols);
      for (size_t t = 0; t < x.size(); ++t) {
        QuantiseActivations({&stored[t * cols], cols}, static_cast<size_t>(group),
                            {&values[t * cols], cols});
      }
    }
    const std::vector<double>& activations = group > 0 ? quantised[group] : exact;
    for (size_t t = 0; t < x.size(); ++t) {
      // Eight partial sums: f64 is exact enough in any order, and this one vectorises.
      double sums[8] = {};
      const double* a = &activations[t * cols];
      size_t k = 0;
      for (; k + 8 <= cols; k += 8) {
        for (size_t j = 0; j < 8; ++j) sums[j] += a[k + j] * row[k + j];
      }
      for (; k < cols; ++k) sums[0] += a[k] * row[k];
      products[t * rows + n] =
          ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
    }
  }
}

}  // namespace rill::ops::reference
