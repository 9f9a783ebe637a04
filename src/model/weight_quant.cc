// WeightSet: one logical matrix from the tensors that hold it: a plain one, a transposed one, a
// stack of experts, or the group of tensors that AWQ or GPTQ made of it.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "model/weight_resolve.h"
#include "model/weights.h"
#include "quant/awq.h"
#include "quant/gptq.h"
#include "quant/view_rows.h"

namespace rill::model {

namespace {

std::string Shown(const io::TensorEntry* entry) {
  if (entry == nullptr) return "no such tensor";
  return fmt::format("{} {}", DTypeName(entry->view.dtype), entry->view.shape.ToString());
}

int64_t NumGroups(int64_t cols, int64_t group) {
  return (cols + group - 1) / group;
}

// The sizes that `quant` names, in columns of a row of `cols`.
std::vector<int64_t> NamedGroupSizes(const QuantConfig& quant, int64_t cols) {
  std::vector<int64_t> out;
  const auto add = [&](int64_t size) {
    if (size <= 0 || size > cols) size = cols;
    if (std::find(out.begin(), out.end(), size) == out.end()) out.push_back(size);
  };
  add(quant.group_size);
  for (int64_t size : quant.rule_group_sizes) add(size);
  return out;
}

}  // namespace

WeightSet::Part::Part(std::shared_ptr<const quant::RowReader> rows, int64_t bytes,
                      std::vector<std::string> from, std::vector<std::string> all)
    : reader(std::move(rows)), file_bytes(bytes), tensors(std::move(from)), reads(std::move(all)) {
  const Shape shape = reader->num_experts() > 1
                          ? Shape{reader->num_experts(), reader->rows(), reader->cols()}
                          : Shape{reader->rows(), reader->cols()};
  view = TensorView(static_cast<const void*>(nullptr), reader->dtype(), shape);
}

WeightSet::Part WeightSet::Part::With(std::shared_ptr<const quant::RowReader> rows) const {
  Part out(std::move(rows), file_bytes, tensors, reads);
  out.first_row = first_row;
  return out;
}

std::shared_ptr<const quant::RowReader> WeightSet::Part::Rows() const {
  return reader != nullptr ? reader : ViewReader(view);
}

std::shared_ptr<const quant::RowReader> ViewReader(const TensorView& view) {
  std::vector<TensorView> experts;
  if (view.rank() == 2) {
    experts.push_back(view);
  } else {
    const DTypeTraits& traits = Traits(view.dtype);
    for (int64_t e = 0; e < view.dim(0); ++e) {
      TensorView expert(view.data + e * view.stride(0) / traits.block_weights * traits.block_bytes,
                        view.dtype, Shape{view.dim(1), view.dim(2)});
      expert.strides[0] = view.stride(1);
      experts.push_back(expert);
    }
  }
  return quant::MakeViewRows(std::move(experts));
}

bool WeightSet::HasMatrix(const std::string& base) const {
  return tensors_.Find(base + ".weight") != nullptr || tensors_.Find(base + ".qweight") != nullptr;
}

Result<TensorView> WeightSet::GetExact(const std::string& name, std::initializer_list<DType> dtypes,
                                       const Shape& shape) {
  const io::TensorEntry* entry = Find(name);
  if (entry == nullptr || !(entry->view.shape == shape) ||
      std::find(dtypes.begin(), dtypes.end(), entry->view.dtype) == dtypes.end()) {
    std::vector<std::string_view> names;
    for (DType dtype : dtypes) names.push_back(DTypeName(dtype));
    return InvalidArgument(fmt::format(
        "{}: tensor '{}': expected {} {}, the file has {}; supported: {}", culprit_, name,
        fmt::join(names, " or "), shape.ToString(), Shown(entry), kSupportedQuantConfigs));
  }
  const TensorView& view = entry->view;
  if (view.data == nullptr) {
    return InvalidArgument(fmt::format("{}: tensor '{}' has no data", culprit_, name));
  }
  return view;
}

Result<WeightSet::Part> WeightSet::GetMatrix(const std::string& base, int64_t rows, int64_t cols) {
  if (quant_.method != QuantMethod::kNone) {
    if (tensors_.Find(base + ".qweight") != nullptr) return GetPacked(base, rows, cols);
    if (tensors_.Find(base + ".weight") == nullptr) {
      return InvalidArgument(
          fmt::format("{}: tensor '{}.qweight': the file has no such tensor, and no '{}.weight' "
                      "that is not packed; supported: {}",
                      culprit_, base, base, kSupportedQuantConfigs));
    }
  }
  if (!names_.transposed || base == names_.lm_head) {
    RILL_ASSIGN_OR_RETURN(const TensorView view, Get(base + ".weight", Shape{rows, cols}));
    return Part(view, base + ".weight");
  }
  RILL_ASSIGN_OR_RETURN(const TensorView view, Get(base + ".weight", Shape{cols, rows}));
  if (IsQuantBlock(view.dtype)) {
    return Unsupported(fmt::format(
        "{}: tensor '{}.weight': a {} matrix cannot be stored transposed; supported: {}", culprit_,
        base, DTypeName(view.dtype), SupportedTypes(/*plain_only=*/true)));
  }
  return Part(quant::MakeViewRows({view}, true), view.SizeBytes(), {base + ".weight"},
              {base + ".weight"});
}

// The order of columns of a matrix of `num_groups` groups, or null. Zeros only are none, as exllama
// has it: in group 0 there is no column of the other groups.
const io::TensorEntry* WeightSet::FindOrder(const std::string& base, int64_t num_groups) const {
  const io::TensorEntry* entry = tensors_.Find(base + ".g_idx");
  return entry != nullptr && num_groups > 1 && IsAllZero(entry->view) ? nullptr : entry;
}

// qweight, qzeros and scales, with GPTQ maybe g_idx: shapes follow from the matrix, the bits and
// the group size, so that each is checked before any is read.
Result<WeightSet::Part> WeightSet::GetPacked(const std::string& base, int64_t rows, int64_t cols) {
  const bool awq = quant_.method == QuantMethod::kAwq;
  int64_t bits = quant_.bits;
  int64_t group = quant_.group_size;
  const auto fail = [&](const std::string& tensor, const std::string& what) {
    return Unsupported(fmt::format("{}: tensor '{}.{}': {}; supported: {}", culprit_, base, tensor,
                                   what, kSupportedQuantConfigs));
  };
  if (quant_.from_shapes) {
    // Wrong widths fail the shape checks below.
    const io::TensorEntry* codes = tensors_.Find(base + ".qweight");
    const io::TensorEntry* scales = tensors_.Find(base + ".scales");
    if (codes->view.rank() == 2 && codes->view.dim(0) <= cols) {
      bits = codes->view.dim(0) * 32 / cols;
    }
    if (bits != 2 && bits != 3 && bits != 4 && bits != 8) {
      return fail("qweight", fmt::format("{} bits", bits));
    }
    // The number of groups does not tell their size where the last may be shorter: 288 columns in 3
    // groups are 3 of 96, or 128, 128 and 32. So only sizes that the configuration names count.
    if (scales != nullptr && scales->view.rank() == 2 && scales->view.dim(0) > 0) {
      const int64_t found = scales->view.dim(0);
      std::vector<int64_t> named = NamedGroupSizes(quant_, cols);
      std::vector<int64_t> fitting = named;
      std::erase_if(fitting, [&](int64_t size) { return NumGroups(cols, size) != found; });
      if (fitting.size() == 1) {
        group = fitting[0];
      } else if (FindOrder(base, found) != nullptr) {  // which says it of each column
        group = NumGroups(cols, found);
      } else {
        return fail("scales", fmt::format("expected the rows that {} columns need in groups of {} "
                                          "(as the configuration has them), the file has {}{}",
                                          cols, fmt::join(named, " or "), Shown(scales),
                                          fitting.empty() ? "" : ", which more than one would be"));
      }
    }
  }
  if (group <= 0 || group > cols) group = cols;
  const int64_t num_groups = NumGroups(cols, group);
  const int64_t fields = bits == 3 ? 32 : 32 / bits;  // codes that fill whole words
  if (rows % fields != 0 || cols % 32 != 0) {
    return fail("qweight", fmt::format("a matrix of {} rows and {} columns; supported at {} bits: "
                                       "rows in multiples of {}, columns of 32",
                                       rows, cols, bits, fields));
  }
  const Shape codes_shape = awq ? Shape{cols, rows / 8} : Shape{cols * bits / 32, rows};
  RILL_ASSIGN_OR_RETURN(const TensorView qweight,
                        GetExact(base + ".qweight", {DType::kI32}, codes_shape));
  RILL_ASSIGN_OR_RETURN(const TensorView qzeros, GetExact(base + ".qzeros", {DType::kI32},
                                                          Shape{num_groups, rows * bits / 32}));
  RILL_ASSIGN_OR_RETURN(const TensorView scales,
                        GetExact(base + ".scales", {DType::kF16, DType::kBF16, DType::kF32},
                                 Shape{num_groups, rows}));
  int64_t bytes = qweight.SizeBytes() + qzeros.SizeBytes() + scales.SizeBytes();
  std::vector<std::string> reads = {base + ".qweight", base + ".qzeros", base + ".scales"};
  Result<std::shared_ptr<const quant::RowReader>> reader = Internal("no reader");
  if (awq) {
    reader = quant::MakeAwqRows({.qweight = qweight,
                                 .qzeros = qzeros,
                                 .scales = scales,
                                 .rows = rows,
                                 .cols = cols,
                                 .group_size = group});
  } else {
    TensorView g_idx;
    if (tensors_.Find(base + ".g_idx") != nullptr) {
      RILL_ASSIGN_OR_RETURN(g_idx, GetExact(base + ".g_idx", {DType::kI32}, Shape{cols}));
      bytes += g_idx.SizeBytes();
      reads.push_back(base + ".g_idx");
      if (FindOrder(base, num_groups) == nullptr) g_idx = {};
    }
    // In file order every weight would be wrong.
    if (g_idx.empty() && quant_.act_order && num_groups > 1) {
      const bool is_there = tensors_.Find(base + ".g_idx") != nullptr;
      return InvalidArgument(fmt::format(
          "{}: tensor '{}.g_idx': expected i32 [{}], as desc_act is true; the file has {}; "
          "supported: {}",
          culprit_, base, cols, is_there ? "zeros only" : "no such tensor",
          kSupportedQuantConfigs));
    }
    reader = quant::MakeGptqRows({.qweight = qweight,
                                  .qzeros = qzeros,
                                  .scales = scales,
                                  .g_idx = g_idx,
                                  .rows = rows,
                                  .cols = cols,
                                  .bits = static_cast<int>(bits),
                                  .group_size = group,
                                  .zeros_minus_one = quant_.zeros_minus_one,
                                  .int3_zeros = quant_.int3_zeros});
  }
  if (!reader.ok()) {
    // "scales: element 3: …"
    const Status status = reader.status();
    const std::string_view message = status.message();
    const size_t colon = std::min(message.find(':'), message.size());
    return Status(status.code(), fmt::format("{}: tensor '{}.{}'{}; supported: {}", culprit_, base,
                                             message.substr(0, colon), message.substr(colon),
                                             kSupportedQuantConfigs));
  }
  return Part(std::move(*reader), bytes, {base + ".qweight"}, std::move(reads));
}

WeightSet::Part WeightSet::SliceOf(const Part& part, int64_t begin, int64_t count) {
  Part out = part.reader == nullptr
                 ? Part(RowSlice(part.view, begin, count), part.tensors[0])
                 : Part(quant::MakeRowSlice(part.reader, begin, count),
                        part.file_bytes / part.view.dim(part.view.rank() - 2) * count, part.tensors,
                        part.reads);
  out.first_row = part.first_row + begin;
  return out;
}

Result<WeightSet::Part> WeightSet::Stacked(const std::string& name,
                                           const std::vector<Part>& experts) {
  std::vector<std::shared_ptr<const quant::RowReader>> readers;
  std::vector<std::string> tensors, reads;
  int64_t bytes = 0;
  for (const Part& part : experts) {
    if (part.view.dtype != experts[0].view.dtype) {
      return Unsupported(fmt::format(
          "{}: tensor '{}': {}, of expert {} of {}; expected {} as expert 0's '{}' is; supported: "
          "experts of a layer in one format, of {}",
          culprit_, part.tensors[0], DTypeName(part.view.dtype), readers.size(), name,
          DTypeName(experts[0].view.dtype), experts[0].tensors[0], kSupportedQuantConfigs));
    }
    readers.push_back(part.Rows());
    tensors.push_back(part.tensors[0]);
    reads.insert(reads.end(), part.reads.begin(), part.reads.end());
    bytes += part.file_bytes;
  }
  Part out(quant::MakeStackedRows(std::move(readers)), bytes, std::move(tensors), std::move(reads));
  out.view.shape = Shape{static_cast<int64_t>(experts.size()), out.view.dim(out.view.rank() - 2),
                         out.view.dim(out.view.rank() - 1)};
  out.view = TensorView(static_cast<const void*>(nullptr), out.view.dtype, out.view.shape);
  return out;
}

}  // namespace rill::model
