// What the calls of a kernel benchmark point to.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "llm/kernel_bench_args.h"
#include "quant/encode_rows.h"
#include "quant/kv_format.h"
#include "quant/random_weights.h"
#include "quant/view_rows.h"

namespace rill {

Status CheckRoom(double bytes, const std::string& what) {
  const double machine =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  if (bytes <= machine / 2) return OkStatus();
  return ResourceExhausted(fmt::format("{}: {:.1f} GB, more than half of this machine's {:.1f} GB",
                                       what, bytes / 1e9, machine / 1e9));
}

MutableTensorView KernelBenchData::Tensor(Shape shape) {
  memory.emplace_back(static_cast<size_t>(shape.NumElements()) * sizeof(float));
  auto* x = reinterpret_cast<float*>(memory.back().data());
  for (int64_t i = 0; i < shape.NumElements(); ++i) {
    x[i] = static_cast<float>(static_cast<int64_t>((i * 2654435761u) & 0xFFFF) - 32768) / 32768;
  }
  return MutableTensorView(x, DType::kF32, shape);
}

TensorView KernelBenchData::Ids(Shape shape, const std::function<int64_t(int64_t)>& value) {
  memory.emplace_back(static_cast<size_t>(shape.NumElements()) * sizeof(int32_t));
  auto* x = reinterpret_cast<int32_t*>(memory.back().data());
  for (int64_t i = 0; i < shape.NumElements(); ++i) x[i] = static_cast<int32_t>(value(i));
  return TensorView(x, DType::kI32, shape);
}

TensorView KernelBenchData::CosSin() {
  const MutableTensorView cos_sin = Tensor({options.tokens, kHead});
  auto* x = reinterpret_cast<float*>(cos_sin.data);
  for (int64_t i = 0; i < int64_t{options.tokens} * kHead / 2; ++i) {
    *x++ = std::cos(static_cast<float>(i % 97));
    *x++ = std::sin(static_cast<float>(i % 97));
  }
  return cos_sin;
}

Status KernelBenchData::AddWeight(const WeightShape& shape) {
  const int64_t rows = shape.rows, cols = shape.cols, experts = shape.num_experts;
  ops::WeightSource source;
  source.name = fmt::format("bench {} [{}, {}]", DTypeName(dtype), rows, cols);
  source.paired = shape.paired;
  source.row_access = shape.is_table;
  source.matmul = !shape.is_table;
  source.activations =
      options.activations == "f32" && !w8a8 ? ops::ActivationMode::kF32 : ops::ActivationMode::kQ8;
  const auto row_bytes = RowBytes(dtype, cols);
  if (!row_bytes) {
    return InvalidArgument(source.name + ": rows are no whole blocks of this format");
  }
  memory.emplace_back(static_cast<size_t>(experts * rows * *row_bytes));
  RILL_RETURN_IF_ERROR(quant::FillRandom(dtype, experts * rows * cols,
                                         1.0f / std::sqrt(float(cols)), weights.size() + 1,
                                         memory.back().data()));
  const int64_t num_parts = shape.paired ? 2 : 1, part_rows = rows / num_parts;
  const std::byte* at = memory.back().data();
  for (int64_t i = 0; i < num_parts; ++i, at += experts * part_rows * *row_bytes) {
    const Shape part = experts > 1 ? Shape{experts, part_rows, cols} : Shape{part_rows, cols};
    source.parts.emplace_back(at, dtype, part);
    if (!w8a8) continue;
    std::vector<TensorView> views;
    for (int64_t e = 0; e < experts; ++e) {
      views.emplace_back(at + e * part_rows * *row_bytes, dtype, Shape{part_rows, cols});
    }
    RILL_ASSIGN_OR_RETURN(auto made, quant::MakeW8Rows(quant::MakeViewRows(std::move(views))));
    source.parts.back() = TensorView(static_cast<const void*>(nullptr), made->dtype(), part);
    source.readers.push_back(std::move(made));
  }
  RILL_ASSIGN_OR_RETURN(auto weight, backend.PackWeight(source));
  weights.push_back(std::move(weight));
  if (weights.back()->packed_bytes() > 0) memory.pop_back();
  return OkStatus();
}

Status KernelBenchData::AddSets(const std::vector<WeightShape>& shapes,
                                const std::function<void(size_t)>& each) {
  double bytes = 0;
  for (const WeightShape& shape : shapes) {
    bytes += static_cast<double>(shape.num_experts) * static_cast<double>(shape.rows) *
             static_cast<double>(RowBytes(dtype, shape.cols).value_or(shape.cols * 4));
  }
  double count = options.num_matrices;
  if (count == 0) count = std::clamp(std::floor(double{256 << 20} / bytes), 1.0, 4096.0);
  // The last one is there as random bytes and packed.
  RILL_RETURN_IF_ERROR(CheckRoom((count + 1) * bytes, fmt::format("{}: weights", options.name)));
  for (int64_t i = 0; i < static_cast<int64_t>(count); ++i) {
    const size_t first = weights.size();
    for (const WeightShape& shape : shapes) RILL_RETURN_IF_ERROR(AddWeight(shape));
    each(first);
  }
  return OkStatus();
}

Status KernelBenchData::AddKv() {
  const KernelBenchOptions& o = options;
  const int32_t heads = num_heads();
  kv.layout.format = kv_format;
  kv.layout.num_layers = 1;
  kv.layout.num_kv_heads = heads % 4 == 0 ? heads / 4 : heads;
  kv.layout.k_dim = kv.layout.v_dim = kHead;
  const int64_t pages = (o.context + kv.layout.page_size - 1) / kv.layout.page_size;
  RILL_RETURN_IF_ERROR(
      CheckRoom(static_cast<double>(pages) * o.tokens * static_cast<double>(kv.layout.page_bytes()),
                options.name + ": keys and values"));
  RILL_ASSIGN_OR_RETURN(auto buffer, backend.Allocate(pages * o.tokens * kv.layout.page_bytes()));
  std::fill_n(reinterpret_cast<uint8_t*>(buffer->data()), buffer->size_bytes(), uint8_t{0x2C});
  kv.base = buffer->data();
  buffers.push_back(std::move(buffer));
  kv.num_pages = static_cast<int32_t>(pages * o.tokens);
  kv.num_seqs = o.tokens;
  kv.max_pages = static_cast<int32_t>(pages);
  page_table.resize(static_cast<size_t>(kv.num_pages));
  std::iota(page_table.begin(), page_table.end(), 0);
  q_offsets.resize(static_cast<size_t>(o.tokens) + 1);
  std::iota(q_offsets.begin(), q_offsets.end(), 0);
  kv_lens.assign(static_cast<size_t>(o.tokens), o.context);
  kv.page_table = page_table.data();
  kv.q_offsets = q_offsets.data();
  kv.kv_lens = kv_lens.data();
  return OkStatus();
}

}  // namespace rill
