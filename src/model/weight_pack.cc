// WeightSet: from views of the file to packed weights and f32 constants.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/checked_math.h"
#include "model/weights.h"
#include "quant/dequant.h"

namespace rill::model {
namespace {

class ShapeOnlyWeight final : public ops::PackedWeight {
 public:
  ShapeOnlyWeight(std::string name, int64_t experts, int64_t rows, int64_t cols, bool paired) {
    name_ = std::move(name);
    num_experts_ = experts;
    rows_ = rows;
    cols_ = cols;
    paired_ = paired;
  }
  int64_t packed_bytes() const override { return 0; }
  std::string Describe() const override { return "not packed"; }
};

}  // namespace

void WeightSet::PackShapes() {
  for (const Vector& vector : vectors_) {
    TensorView view(static_cast<const void*>(nullptr), DType::kF32, vector.shape);
    *vector.target = view;
  }
  for (const Matrix& matrix : matrices_) {
    int64_t rows = 0, cols = 0, experts = 1;
    for (const TensorView& part : matrix.parts) {
      const int rank = part.rank();
      rows += part.dim(matrix.transposed ? rank - 1 : rank - 2);
      cols = part.dim(matrix.transposed ? rank - 2 : rank - 1);
      if (rank == 3) experts = part.dim(0);
    }
    if (!matrix.turned.empty()) {
      rows += matrix.turned.dim(0) * matrix.turned.dim(2);
      cols = matrix.turned.dim(1);
    }
    for (const auto& stack : matrix.stacks) {
      rows += stack[0].dim(0);
      cols = stack[0].dim(1);
      experts = static_cast<int64_t>(stack.size());
    }
    packed_.push_back(
        std::make_unique<ShapeOnlyWeight>(matrix.name, experts, rows, cols, matrix.paired));
    *matrix.target = packed_.back().get();
  }
  if (!spec_.is_encoder && spec_.tied_embedding) weights_.lm_head.w = weights_.embed;
}

std::byte* WeightSet::OwnedBytes(int64_t bytes) {
  owned_.push_back(std::make_unique<std::byte[]>(static_cast<size_t>(bytes)));
  owned_bytes_ += bytes;
  return owned_.back().get();
}

Result<TensorView> WeightSet::Transposed(const TensorView& view) {
  const int64_t rows = view.dim(0), cols = view.dim(1);
  if (IsQuantBlock(view.dtype)) {
    return Unsupported(fmt::format("{}: a {} matrix cannot be stored transposed", culprit_,
                                   DTypeName(view.dtype)));
  }
  const auto size = static_cast<size_t>(Traits(view.dtype).block_bytes);
  std::byte* out = OwnedBytes(view.SizeBytes());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      std::memcpy(out + static_cast<size_t>(c * rows + r) * size,
                  view.data + static_cast<size_t>(r * cols + c) * size, size);
    }
  }
  return TensorView(out, view.dtype, Shape{cols, rows});
}

// [heads, K, N] as [heads * N, K], f32: blocks run along N and cannot be turned.
Result<TensorView> WeightSet::TurnedHeads(const TensorView& view) {
  const int64_t heads = view.dim(0), cols = view.dim(1), rows = view.dim(2);
  const auto row_bytes = RowBytes(view.dtype, rows);
  if (!row_bytes) return InvalidArgument(culprit_ + ": attn_k_b: rows are not whole blocks");
  auto* out = reinterpret_cast<float*>(OwnedBytes(heads * rows * cols * int64_t{4}));
  std::vector<float> line(static_cast<size_t>(rows));
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t c = 0; c < cols; ++c) {
      const std::byte* data = view.data + (h * cols + c) * *row_bytes;
      RILL_RETURN_IF_ERROR(quant::DequantizeRow(view.dtype, data, rows, line.data()));
      for (int64_t r = 0; r < rows; ++r) {
        out[(h * rows + r) * cols + c] = line[static_cast<size_t>(r)];
      }
    }
  }
  return TensorView(out, DType::kF32, Shape{heads * rows, cols});
}

Result<TensorView> WeightSet::Stacked(const std::string& name,
                                      const std::vector<TensorView>& tensors) {
  const TensorView& first = tensors[0];
  const int64_t bytes = first.SizeBytes();
  const auto count = static_cast<int64_t>(tensors.size());
  std::byte* out = OwnedBytes(bytes * count);
  for (int64_t e = 0; e < count; ++e) {
    const TensorView& view = tensors[static_cast<size_t>(e)];
    if (view.dtype != first.dtype) {
      return Unsupported(fmt::format("{}: {}: expert {} is {}, expert 0 is {}", culprit_, name, e,
                                     DTypeName(view.dtype), DTypeName(first.dtype)));
    }
    std::memcpy(out + e * bytes, view.data, static_cast<size_t>(bytes));
  }
  return TensorView(out, first.dtype, Shape{count, first.dim(0), first.dim(1)});
}

// Rows divided by their length (Baichuan 2's NormHead), f32.
Result<TensorView> WeightSet::UnitRows(const TensorView& view) {
  const int64_t rows = view.dim(0), cols = view.dim(1);
  const auto row_bytes = RowBytes(view.dtype, cols);
  if (!row_bytes) return InvalidArgument(culprit_ + ": lm_head: rows are not whole blocks");
  auto* out = reinterpret_cast<float*>(OwnedBytes(rows * cols * int64_t{4}));
  for (int64_t r = 0; r < rows; ++r) {
    float* row = out + r * cols;
    RILL_RETURN_IF_ERROR(quant::DequantizeRow(view.dtype, view.data + r * *row_bytes, cols, row));
    double sum = 0;
    for (int64_t c = 0; c < cols; ++c) sum += static_cast<double>(row[c]) * row[c];
    const float length = std::max(static_cast<float>(std::sqrt(sum)), 1e-12f);
    for (int64_t c = 0; c < cols; ++c) row[c] /= length;
  }
  return TensorView(out, DType::kF32, Shape{rows, cols});
}

Status WeightSet::PackVectors(ops::Backend& backend) {
  constexpr int64_t kAlign = 16;  // floats: one cache line
  int64_t total = 0;
  for (const Vector& vector : vectors_) {
    total += (vector.shape.NumElements() + kAlign - 1) / kAlign * kAlign;
  }
  RILL_ASSIGN_OR_RETURN(constants_, backend.Allocate(std::max<int64_t>(total, 1) * 4));
  auto* at = reinterpret_cast<float*>(constants_->data());
  for (const Vector& vector : vectors_) {
    float* out = at;
    if (!vector.values.empty()) {
      out = std::copy(vector.values.begin(), vector.values.end(), out);
    }
    for (size_t i = 0; i < vector.parts.size(); ++i) {
      const TensorView& part = vector.parts[i];
      if (part.empty()) {
        out = std::fill_n(out, vector.zeros[i], 0.0f);
        continue;
      }
      const int64_t count = part.shape.NumElements();
      RILL_RETURN_IF_ERROR(quant::DequantizeRow(part.dtype, part.data, count, out));
      out += count;
    }
    CHECK(out - at == vector.shape.NumElements());
    *vector.target = TensorView(at, DType::kF32, vector.shape);
    at += (vector.shape.NumElements() + kAlign - 1) / kAlign * kAlign;
  }
  return OkStatus();
}

Status WeightSet::Pack(ops::Backend& backend, ops::ActivationMode activations) {
  RILL_RETURN_IF_ERROR(PackVectors(backend));
  for (Matrix& matrix : matrices_) {
    ops::WeightSource source;
    source.name = matrix.name;
    source.paired = matrix.paired;
    source.row_access = matrix.row_access;
    source.matmul = matrix.matmul;
    source.activations = activations;
    const int64_t owned_before = owned_bytes_;
    for (const auto& stack : matrix.stacks) {
      RILL_ASSIGN_OR_RETURN(const TensorView view, Stacked(matrix.name, stack));
      source.parts.push_back(view);
    }
    if (!matrix.turned.empty()) {
      RILL_ASSIGN_OR_RETURN(const TensorView view, TurnedHeads(matrix.turned));
      source.parts.push_back(view);
    }
    for (const TensorView& part : matrix.parts) {
      TensorView view = part;
      if (matrix.transposed) {
        RILL_ASSIGN_OR_RETURN(view, Transposed(view));
      }
      if (matrix.unit_rows) {
        RILL_ASSIGN_OR_RETURN(view, UnitRows(view));
      }
      source.parts.push_back(view);
    }
    Result<std::unique_ptr<ops::PackedWeight>> packed = backend.PackWeight(source);
    if (!packed.ok()) return packed.status().WithPrefix(culprit_);
    const int64_t bytes = (*packed)->packed_bytes();
    packed_bytes_ += bytes;
    if (owned_bytes_ == owned_before && (bytes == 0 || source.row_access)) {
      for (const TensorView& part : source.parts) mapped_bytes_ += part.SizeBytes();
    }
    *matrix.target = packed->get();
    packed_.push_back(std::move(*packed));
  }
  if (!spec_.is_encoder && spec_.tied_embedding) weights_.lm_head.w = weights_.embed;
  packed_bytes_ += owned_bytes_ + constants_->size_bytes();
  return OkStatus();
}

}  // namespace rill::model
