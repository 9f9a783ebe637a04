#include "llm/requantize.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>
#include <vector>

#include "base/float_types.h"
#include "base/thread_pool.h"
#include "io/mapped_file.h"
#include "quant/dequant.h"
#include "quant/quantize.h"

namespace rill::llm {
namespace {

// What a tensor becomes; nullopt: it stays.
std::optional<DType> NewFormat(const io::TensorEntry& entry, DType dtype) {
  const TensorView& view = entry.view;
  // Routers and the like: few rows, and their format is not what is measured.
  if (view.rank() < 2 || view.dim(view.rank() - 2) < 32) return std::nullopt;
  const int64_t cols = view.dim(view.rank() - 1);
  if (RowBytes(dtype, cols)) return dtype;
  const DType fallback = FallbackFormat(dtype);
  return RowBytes(fallback, cols) ? std::optional(fallback) : std::nullopt;
}

Status EncodeRow(DType dtype, const std::vector<float>& x, std::byte* out) {
  const auto n = static_cast<int64_t>(x.size());
  if (dtype == DType::kF32) {
    std::memcpy(out, x.data(), x.size() * 4);
    return OkStatus();
  }
  if (dtype == DType::kF16 || dtype == DType::kBF16) {
    for (size_t i = 0; i < x.size(); ++i) {
      const uint16_t bits = dtype == DType::kF16 ? F32ToF16(x[i]) : F32ToBf16(x[i]);
      std::memcpy(out + 2 * i, &bits, 2);
    }
    return OkStatus();
  }
  return quant::QuantizeRow(dtype, x.data(), n, out);
}

}  // namespace

DType FallbackFormat(DType dtype) {
  switch (dtype) {
    case DType::kQ2_K:
    case DType::kQ3_K: return DType::kQ4_0;
    case DType::kQ4_K: return DType::kQ5_0;
    case DType::kQ5_K: return DType::kQ5_1;
    case DType::kQ6_K: return DType::kQ8_0;
    case DType::kIQ4_XS: return DType::kIQ4_NL;
    default: return dtype;
  }
}

Result<io::ModelSource> Requantize(const io::ModelSource& source, DType dtype, int num_threads) {
  int64_t total = 0;
  for (const io::TensorEntry& entry : source.tensors.entries()) {
    const auto format = NewFormat(entry, dtype);
    if (!format) continue;
    const int64_t cols = entry.view.dim(entry.view.rank() - 1);
    total += entry.view.shape.NumElements() / cols * *RowBytes(*format, cols);
    total = (total + 63) / 64 * 64;
  }
  RILL_ASSIGN_OR_RETURN(
      auto memory, io::MappedFile::Allocate(static_cast<size_t>(total),
                                            source.path + " as " + std::string(DTypeName(dtype))));
  io::ModelSource out = source;
  out.tensors = io::TensorDirectory();
  for (const auto& file : source.tensors.files()) out.tensors.AddFile(file);
  const uint32_t index = out.tensors.AddFile(memory);
  ThreadPool pool(num_threads);
  std::mutex mutex;
  Status error;
  std::byte* at = memory->mutable_data();
  for (const io::TensorEntry& entry : source.tensors.entries()) {
    io::TensorEntry made = entry;
    if (const auto format = NewFormat(entry, dtype)) {
      const TensorView& view = entry.view;
      const int64_t cols = view.dim(view.rank() - 1);
      const int64_t rows = view.shape.NumElements() / cols;
      const auto from_bytes = RowBytes(view.dtype, cols);
      const int64_t to_bytes = *RowBytes(*format, cols);
      if (!from_bytes) return InvalidArgument(entry.name + ": rows are no whole blocks");
      pool.ParallelFor(rows, 1, [&](int64_t begin, int64_t end) {
        std::vector<float> x(static_cast<size_t>(cols));
        for (int64_t r = begin; r < end; ++r) {
          Status status =
              quant::DequantizeRow(view.dtype, view.data + r * *from_bytes, cols, x.data());
          if (status.ok()) status = EncodeRow(*format, x, at + r * to_bytes);
          if (status.ok()) continue;
          std::lock_guard<std::mutex> lock(mutex);
          error = status.WithPrefix(entry.name);
          return;
        }
      });
      if (!error.ok()) return error;
      made.view = TensorView(static_cast<const void*>(at), *format, view.shape);
      made.file_index = index;
      made.offset_bytes = static_cast<uint64_t>(at - memory->mutable_data());
      at += (rows * to_bytes + 63) / 64 * 64;
    }
    RILL_RETURN_IF_ERROR(out.tensors.Add(std::move(made)));
  }
  return out;
}

}  // namespace rill::llm
