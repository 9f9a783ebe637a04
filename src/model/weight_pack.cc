// WeightSet: from views of the file to packed weights and f32 constants.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "base/checked_math.h"
#include "model/read_ahead.h"
#include "model/weight_resolve.h"
#include "model/weights.h"
#include "quant/dequant.h"
#include "quant/encode_rows.h"
#include "quant/scale_fields.h"
#include "quant/view_rows.h"

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
    for (const Part& part : matrix.parts) {
      const int rank = part.view.rank();
      rows += part.view.dim(rank - 2);
      cols = part.view.dim(rank - 1);
      if (rank == 3) experts = part.view.dim(0);
    }
    packed_.push_back(
        std::make_unique<ShapeOnlyWeight>(matrix.name, experts, rows, cols, matrix.paired));
    *matrix.target = packed_.back().get();
  }
  if (!spec_.is_encoder && spec_.tied_embedding) weights_.lm_head.w = weights_.embed;
}

namespace {
std::string_view FlagOf(WeightMode mode) {
  return mode == WeightMode::kW8A8 ? "--weights w8a8" : "--weights w4g128";
}
// What the errors list.
std::string_view SupportedBy(WeightMode mode) {
  return mode == WeightMode::kW8A8
             ? "--weights w8a8 of f32, f16 and bf16 matrices with at most 131072 columns"
             : "--weights w4g128 of f32, f16 and bf16 matrices with columns in multiples of 32";
}
}  // namespace

Status WeightSet::Encode(WeightMode mode, Part& part) const {
  const std::string culprit =
      fmt::format("{}: tensor '{}': {}", culprit_, part.tensors[0], FlagOf(mode));
  if (IsQuantBlock(part.view.dtype)) {
    return Unsupported(fmt::format("{}: the file has it quantised already ({}); supported: {}",
                                   culprit, DTypeName(part.view.dtype), SupportedBy(mode)));
  }
  auto encoded =
      mode == WeightMode::kW8A8 ? quant::MakeW8Rows(part.Rows()) : quant::MakeW4Rows(part.Rows());
  if (!encoded.ok()) {
    return Status(encoded.status().code(),
                  fmt::format("{}: {}; supported: {}", culprit, encoded.status().message(),
                              SupportedBy(mode)));
  }
  part = part.With(std::move(*encoded));
  return OkStatus();
}

Status WeightSet::CheckRange(const Matrix& matrix, WeightMode mode) const {
  if (mode != WeightMode::kW4G128) return OkStatus();  // f32 scales hold what f32 holds
  for (const Part& part : matrix.parts) {
    const auto found = quant::FindTooLargeForW4(*part.Rows());
    if (!found) continue;
    const bool one_an_expert = part.tensors.size() > 1;
    const std::string expert = one_an_expert || part.view.rank() < 3
                                   ? std::string()
                                   : fmt::format("expert {}, ", found->expert);
    return Unsupported(fmt::format(
        "{}: tensor '{}': {}: the weight of {}output {} and input {} is {:g}; expected magnitudes "
        "below {:.0f}, which 4 bits and an f16 scale hold",
        culprit_, part.tensors[one_an_expert ? static_cast<size_t>(found->expert) : 0],
        FlagOf(mode), expert, part.first_row + found->row, found->col, found->value,
        quant::kW4Limit));
  }
  return OkStatus();
}

// Parts that read one input must agree on its order. Quantisers give matrices with one input one
// order; where a file does not, those parts are decoded.
Status WeightSet::MergeOrders(ops::WeightSource& source) const {
  const auto order_of = [&](size_t part, int64_t expert) {
    return source.readers[part] ? source.readers[part]->Order(expert) : std::span<const int32_t>();
  };
  bool same = true;
  const TensorView& first = source.parts[0];
  const int64_t experts = first.rank() == 3 ? first.dim(0) : 1;
  for (int64_t e = 0; e < experts; ++e) {
    const auto order = order_of(0, e);
    for (size_t i = 1; i < source.parts.size(); ++i) {
      const auto other = order_of(i, e);
      same = same && std::equal(order.begin(), order.end(), other.begin(), other.end());
    }
  }
  if (same) return OkStatus();
  for (size_t i = 0; i < source.parts.size(); ++i) {
    if (!source.readers[i]) continue;
    source.readers[i] = quant::MakeDecodedRows(source.readers[i]);
    source.parts[i] =
        TensorView(static_cast<const void*>(nullptr), DType::kF32, source.parts[i].shape);
  }
  return OkStatus();
}

namespace {
// Looks no further than the first; a file that is damaged all over costs no second reading.
bool HasNonFinite(const TensorView& view) {
  constexpr int64_t kRun = 1 << 16;  // elements; a multiple of every block size
  const DTypeTraits& traits = Traits(view.dtype);
  const int64_t count = view.shape.NumElements();
  for (int64_t begin = 0; begin < count; begin += kRun) {
    const std::byte* at = view.data + begin / traits.block_weights * traits.block_bytes;
    if (quant::FindNonFinite(view.dtype, at, std::min(kRun, count - begin)).bad > 0) return true;
  }
  return false;
}
}  // namespace

template <typename Fn>
void WeightSet::ForEachTensor(const Matrix& matrix, Fn&& fn) const {
  for (const Part& part : matrix.parts) {
    for (const std::string& name : part.reads) {
      const io::TensorEntry* entry = tensors_.Find(name);
      CHECK(entry != nullptr) << name;
      fn(*entry);
    }
  }
}

void WeightSet::NameDamaged(const Matrix& matrix) {
  const size_t before = damaged_tensors_.size();
  std::unordered_set<const io::TensorEntry*> seen;  // a fused tensor has several parts
  ForEachTensor(matrix, [&](const io::TensorEntry& entry) {
    if (seen.insert(&entry).second && HasNonFinite(entry.view)) {
      damaged_tensors_.push_back(entry.name);
    }
  });
  if (damaged_tensors_.size() > before) return;
  // What the file has is finite, and what was made of it is not: of which of them, nothing says.
  std::unordered_set<std::string_view> named;
  for (const Part& part : matrix.parts) {
    for (const std::string& name : part.tensors) {
      if (named.insert(name).second) damaged_tensors_.push_back(name);
    }
  }
}

void WeightSet::NameDamagedVector(const TensorView& part) {
  for (const io::TensorEntry& entry : tensors_.entries()) {
    const std::byte* begin = entry.view.data;
    if (part.data < begin || part.data >= begin + entry.view.SizeBytes()) continue;
    // Pieces of a fused bias follow one another.
    if (damaged_tensors_.empty() || damaged_tensors_.back() != entry.name) {
      damaged_tensors_.push_back(entry.name);
    }
    return;
  }
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
      quant::MarkNanScales(part.dtype, part.data, count, out);
      if (quant::FindNonFinite(DType::kF32, out, count).bad > 0) NameDamagedVector(part);
      out += count;
    }
    CHECK(out - at == vector.shape.NumElements());
    *vector.target = TensorView(at, DType::kF32, vector.shape);
    at += (vector.shape.NumElements() + kAlign - 1) / kAlign * kAlign;
  }
  return OkStatus();
}

std::string WeightSet::DescribeSource(const Matrix& matrix, const ops::WeightSource& source) const {
  std::string text = fmt::format("{}{}{}{}{}", matrix.name, matrix.paired ? " paired" : "",
                                 matrix.row_access ? " rows" : "", matrix.unit_rows ? " unit" : "",
                                 matrix.encode ? "" : " as-is");
  for (size_t i = 0; i < source.parts.size(); ++i) {
    const TensorView& part = source.parts[i];
    text += fmt::format(" | {} {}", DTypeName(part.dtype), part.shape.ToString());
    const quant::RowReader* reader = ops::ReaderOf(source, i);
    if (reader != nullptr) text += reader->symmetric() ? " made, symmetric" : " made";
    for (size_t f = 0; f < tensors_.files().size() && part.data != nullptr; ++f) {
      const auto bytes = tensors_.files()[f]->bytes();
      if (part.data < bytes.data() || part.data >= bytes.data() + bytes.size()) continue;
      text += fmt::format(" file {} at {}", f, part.data - bytes.data());
    }
  }
  return text;
}

Status WeightSet::PackMatrix(Matrix& matrix, ops::Backend& backend, ops::ActivationMode activations,
                             WeightMode mode, PackCache* cache) {
  ops::WeightSource source;
  source.name = matrix.name;
  source.paired = matrix.paired;
  source.row_access = matrix.row_access;
  source.matmul = matrix.matmul;
  source.activations = activations;
  const bool encode = mode != WeightMode::kFile && matrix.encode;
  if (encode && mode == WeightMode::kW8A8) source.activations = ops::ActivationMode::kQ8;
  for (const Part& file_part : matrix.parts) {
    Part part = file_part;
    if (encode) RILL_RETURN_IF_ERROR(Encode(mode, part));
    if (part.view.dtype == DType::kF64 && matrix.matmul) {  // no kernel reads it
      part = part.With(quant::MakeDecodedRows(part.Rows()));
    }
    if (matrix.unit_rows) part = part.With(quant::MakeUnitRows(part.Rows()));
    source.parts.push_back(part.view);
    source.readers.push_back(part.reader);
  }
  RILL_RETURN_IF_ERROR(MergeOrders(source));
  if (!matrix.matmul) cache = nullptr;  // read in place
  std::string description;
  if (cache != nullptr) {
    description = DescribeSource(matrix, source);
    source.packed = cache->Find(description);
  }
  // What a cache has was looked at when it was made.
  if (encode && source.packed == nullptr) RILL_RETURN_IF_ERROR(CheckRange(matrix, mode));
  Result<std::unique_ptr<ops::PackedWeight>> packed = backend.PackWeight(source);
  if (!packed.ok()) return packed.status().WithPrefix(culprit_);
  if (cache != nullptr) cache->Add(description, **packed);
  packed_bytes_ += (*packed)->packed_bytes();
  AddUse(matrix, source, encode, (*packed)->packed_bytes());
  *matrix.target = packed->get();
  packed_.push_back(std::move(*packed));
  if (!packed_.back()->all_finite()) NameDamaged(matrix);
  if (MayReadSource(packed_.size() - 1)) {
    for (const Part& part : matrix.parts) mapped_bytes_ += part.file_bytes;
  }
  return OkStatus();
}

void WeightSet::AddUse(const Matrix& matrix, const ops::WeightSource& source, bool encoded,
                       int64_t packed_bytes) {
  int64_t file_bytes = 0, row_bytes = 0;
  for (const Part& part : matrix.parts) {
    file_bytes += part.file_bytes;
    matrix_use_.weights += part.view.shape.NumElements();
    auto& formats = matrix_use_.formats;
    auto at = std::find_if(formats.begin(), formats.end(),
                           [&](const auto& format) { return format.first == part.view.dtype; });
    if (at == formats.end()) at = formats.insert(at, {part.view.dtype, 0});
    at->second += part.view.shape.NumElements();
  }
  for (const TensorView& view : source.parts) {
    const int64_t cols = view.dim(view.rank() - 1);
    const int64_t scale_bytes = view.dtype == DType::kI8 ? 4 : 0;  // one f32 a row
    row_bytes +=
        view.shape.NumElements() / cols * (RowBytes(view.dtype, cols).value() + scale_bytes);
  }
  matrix_use_.file_bytes += file_bytes;
  matrix_use_.model_bytes += packed_bytes > 0 ? packed_bytes : encoded ? row_bytes : file_bytes;
}

bool WeightSet::MayReadSource(size_t matrix) const {
  return packed_[matrix]->packed_bytes() == 0 || matrices_[matrix].row_access;
}

void WeightSet::ReleaseView(const TensorView& view, bool own_memory) const {
  for (const auto& file : tensors_.files()) {
    const auto bytes = file->bytes();
    if (view.data < bytes.data() || view.data >= bytes.data() + bytes.size()) continue;
    if (file->is_mapped() || own_memory) {
      file->Release({view.data, static_cast<size_t>(view.SizeBytes())});
    }
    return;
  }
}

void WeightSet::ReleaseSource(bool own_memory) const {
  std::unordered_set<const std::byte*> kept;
  for (size_t i = 0; i < matrices_.size(); ++i) {
    if (!MayReadSource(i)) continue;
    ForEachTensor(matrices_[i],
                  [&](const io::TensorEntry& entry) { kept.insert(entry.view.data); });
  }
  for (const io::TensorEntry& entry : tensors_.entries()) {
    if (!kept.contains(entry.view.data)) ReleaseView(entry.view, own_memory);
  }
}

Status WeightSet::Pack(ops::Backend& backend, ops::ActivationMode activations, WeightMode mode,
                       const std::function<void(int64_t done, int64_t total)>& on_matrix,
                       PackCache* cache, bool release_own_memory) {
  RILL_RETURN_IF_ERROR(PackVectors(backend));
  // Matrices that may still read a tensor, by where it begins: two names may have the same bytes.
  std::unordered_map<const std::byte*, int64_t> readers_left;
  if (cache == nullptr) {  // which looks at the whole file once more
    for (const Matrix& matrix : matrices_) {
      ForEachTensor(matrix, [&](const io::TensorEntry& entry) { ++readers_left[entry.view.data]; });
    }
  }
  const auto bytes_of = [](const Matrix& matrix) {
    int64_t bytes = 0;
    for (const Part& part : matrix.parts) bytes += part.file_bytes;
    return bytes;
  };
  int64_t done = 0, total = 0;
  ReadAhead ahead(tensors_);
  for (const Matrix& matrix : matrices_) {
    total += bytes_of(matrix);
    std::vector<std::string> names;  // of what is packed; tables are looked at and stay in place
    if (matrix.matmul && (cache == nullptr || !cache->has_file())) {
      ForEachTensor(matrix, [&](const io::TensorEntry& entry) { names.push_back(entry.name); });
    }
    ahead.Add(names);
  }
  ahead.Start();
  for (Matrix& matrix : matrices_) {
    ahead.Begin(packed_.size());
    RILL_RETURN_IF_ERROR(PackMatrix(matrix, backend, activations, mode, cache));
    if (cache == nullptr && !MayReadSource(packed_.size() - 1)) {
      ForEachTensor(matrix, [&](const io::TensorEntry& entry) {
        if (--readers_left[entry.view.data] == 0) ReleaseView(entry.view, release_own_memory);
      });
    }
    done += bytes_of(matrix);
    if (on_matrix) on_matrix(done, total);
  }
  if (!spec_.is_encoder && spec_.tied_embedding) weights_.lm_head.w = weights_.embed;
  packed_bytes_ += constants_->size_bytes();
  return OkStatus();
}

}  // namespace rill::model
