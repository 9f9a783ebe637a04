#include "model/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "model/weight_resolve.h"

namespace rill::model {

std::string WithIndex(std::string_view pattern, int64_t index) {
  std::string out(pattern);
  const size_t at = out.find("{}");
  if (at != std::string::npos) out.replace(at, 2, std::to_string(index));
  return out;
}

TensorView RowSlice(const TensorView& view, int64_t begin, int64_t count) {
  TensorView out = view;
  const int dim = view.rank() - 2;
  CHECK(begin >= 0 && count > 0 && begin + count <= view.dim(dim));
  const DTypeTraits& traits = Traits(view.dtype);
  out.data += begin * view.stride(dim) / traits.block_weights * traits.block_bytes;
  out.shape[dim] = count;
  return out;
}

TensorView FlatSlice(const TensorView& view, int64_t begin, int64_t count) {
  TensorView out(view.data + begin * Traits(view.dtype).block_bytes, view.dtype, Shape{count});
  return out;
}

WeightSet::WeightSet(const io::TensorDirectory& tensors, std::string culprit,
                     const DecoderSpec& spec, const WeightNames& names, const QuantConfig& quant)
    : tensors_(tensors), culprit_(std::move(culprit)), spec_(spec), names_(names), quant_(quant) {}
WeightSet::~WeightSet() = default;

const io::TensorEntry* WeightSet::Find(const std::string& name) {
  const io::TensorEntry* entry = tensors_.Find(name);
  if (entry != nullptr) used_.push_back(entry);
  return entry;
}

namespace {
bool IsInteger(DType dtype) {
  switch (dtype) {
    case DType::kI8:
    case DType::kI16:
    case DType::kI32:
    case DType::kI64:
    case DType::kU8:
    case DType::kBool: return true;
    default: return false;
  }
}
}  // namespace

std::string SupportedTypes(bool plain_only) {
  std::string list;
  for (const DTypeTraits& traits : kDTypeTraits) {
    const DType dtype = *DTypeFromName(traits.name);
    const bool in_files = !IsQuantBlock(dtype) || (traits.gguf_type >= 0 && !plain_only);
    if (in_files && !IsInteger(dtype))
      list += (list.empty() ? "" : ", ") + std::string(traits.name);
  }
  return list;
}

Result<TensorView> WeightSet::Get(const std::string& name, const Shape& shape) {
  const io::TensorEntry* entry = Find(name);
  if (entry == nullptr) {
    return InvalidArgument(
        fmt::format("{}: tensor '{}': expected {}, the file has no such tensor; supported: {}",
                    culprit_, name, shape.ToString(), SupportedTypes()));
  }
  if (!(entry->view.shape == shape)) {
    return InvalidArgument(fmt::format(
        "{}: tensor '{}': expected {}, the file has {} of {}; supported: that shape in {}",
        culprit_, name, shape.ToString(), entry->view.shape.ToString(),
        DTypeName(entry->view.dtype), SupportedTypes()));
  }
  if (entry->view.data == nullptr) {
    return InvalidArgument(fmt::format("{}: tensor '{}' has no data", culprit_, name));
  }
  if (IsInteger(entry->view.dtype)) {
    return Unsupported(fmt::format(
        "{}: tensor '{}': expected a floating-point or block type, the file has {}; supported: {}",
        culprit_, name, DTypeName(entry->view.dtype), SupportedTypes()));
  }
  return entry->view;
}

Status WeightSet::AddBias(std::vector<std::string> bases, std::vector<int64_t> sizes, bool required,
                          TensorView& out) {
  Vector vector;
  bool any = false;
  int64_t total = 0;
  for (size_t i = 0; i < bases.size(); ++i) {
    const std::string name = bases[i] + ".bias";
    total += sizes[i];
    vector.zeros.push_back(sizes[i]);
    if (!required && (!spec_.optional_bias || tensors_.Find(name) == nullptr)) {
      vector.parts.emplace_back();
      continue;
    }
    RILL_ASSIGN_OR_RETURN(const TensorView view, Get(name, Shape{sizes[i]}));
    vector.parts.push_back(view);
    any = true;
  }
  if (!any) return OkStatus();
  vector.shape = Shape{total};
  vector.target = &out;
  vectors_.push_back(std::move(vector));
  return OkStatus();
}

Status WeightSet::AddLinear(const std::string& base, int64_t rows, int64_t cols, bool bias,
                            LinearWeights& out) {
  RILL_ASSIGN_OR_RETURN(const Part part, GetMatrix(base, rows, cols));
  Matrix matrix;
  matrix.name = base;
  matrix.parts = {part};
  matrix.target = &out.w;
  matrices_.push_back(std::move(matrix));
  return AddBias({base}, {rows}, bias, out.bias);
}

Status WeightSet::AddNorm(const std::string& base, const NormSpec& norm, const Shape& shape,
                          NormWeights& out) {
  if (!norm.has_weight || base.empty()) return OkStatus();
  Vector weight;
  RILL_ASSIGN_OR_RETURN(const TensorView view, Get(base + ".weight", shape));
  weight.parts = {view};
  weight.zeros = {0};
  weight.shape = shape;
  weight.target = &out.weight;
  vectors_.push_back(std::move(weight));
  if (!norm.has_bias) return OkStatus();
  return AddBias({base}, {shape[0]}, !spec_.optional_bias, out.bias);
}

Status WeightSet::AddHeadNorms(const std::string& base, int64_t heads, NormWeights& out) {
  Vector weight;
  for (int64_t h = 0; h < heads; ++h) {
    RILL_ASSIGN_OR_RETURN(const TensorView view,
                          Get(WithIndex(base, h) + ".weight", Shape{spec_.k_dim}));
    weight.parts.push_back(view);
    weight.zeros.push_back(0);
  }
  weight.shape = Shape{heads, spec_.k_dim};
  weight.target = &out.weight;
  vectors_.push_back(std::move(weight));
  return OkStatus();
}

Status WeightSet::AddTable(const std::string& base, int64_t rows, int64_t cols,
                           const ops::PackedWeight*& out) {
  RILL_ASSIGN_OR_RETURN(const TensorView view, Get(base + ".weight", Shape{rows, cols}));
  Matrix matrix;
  matrix.name = base;
  matrix.parts = {Part(view, base + ".weight")};
  matrix.row_access = true;
  matrix.matmul = false;
  matrix.encode = false;
  matrix.target = &out;
  matrices_.push_back(std::move(matrix));
  return OkStatus();
}

Status WeightSet::ResolveEnds() {
  const Shape hidden{spec_.hidden_size};
  const int64_t embed_dim = spec_.embed_dim > 0 ? spec_.embed_dim : spec_.hidden_size;
  RILL_RETURN_IF_ERROR(AddTable(names_.embed, spec_.vocab_size, embed_dim, weights_.embed));
  if (!spec_.is_encoder && spec_.tied_embedding) {
    matrices_.back().matmul = true;
    RILL_RETURN_IF_ERROR(
        AddBias({names_.lm_head}, {spec_.vocab_size}, spec_.lm_head_bias, weights_.lm_head.bias));
    // An lm_head beside a tied configuration is a copy (FitHead).
    (void)Find(names_.lm_head + ".weight");
  } else if (!spec_.is_encoder) {
    RILL_ASSIGN_OR_RETURN(const Part part, GetMatrix(names_.lm_head, spec_.vocab_size, embed_dim));
    Matrix matrix;
    matrix.name = names_.lm_head;
    matrix.parts = {part};
    matrix.unit_rows = spec_.norm_head;
    matrix.encode = false;
    matrix.target = &weights_.lm_head.w;
    matrices_.push_back(std::move(matrix));
    RILL_RETURN_IF_ERROR(
        AddBias({names_.lm_head}, {spec_.vocab_size}, spec_.lm_head_bias, weights_.lm_head.bias));
  }
  if (embed_dim != spec_.hidden_size) {
    RILL_RETURN_IF_ERROR(
        AddLinear(names_.project_in, spec_.hidden_size, embed_dim, false, weights_.project_in));
    RILL_RETURN_IF_ERROR(
        AddLinear(names_.project_out, embed_dim, spec_.hidden_size, false, weights_.project_out));
  }
  if (spec_.num_positions > 0) {
    RILL_RETURN_IF_ERROR(
        AddTable(names_.positions, spec_.num_positions, spec_.hidden_size, weights_.positions));
  }
  if (spec_.num_token_types > 0) {
    RILL_RETURN_IF_ERROR(AddTable(names_.token_types, spec_.num_token_types, spec_.hidden_size,
                                  weights_.token_types));
  }
  if (spec_.embed_norm) {
    RILL_RETURN_IF_ERROR(AddNorm(names_.embed_norm, spec_.norm, hidden, weights_.embed_norm));
  }
  if (spec_.final_norm) {
    RILL_RETURN_IF_ERROR(AddNorm(names_.final_norm, spec_.norm, hidden, weights_.final_norm));
  }
  for (const RopeSpec& rope : spec_.ropes) {
    Vector vector;
    vector.values = rope.inv_freq;
    vector.shape = Shape{static_cast<int64_t>(rope.inv_freq.size())};
    vector.target = &weights_.inv_freqs[static_cast<size_t>(&rope - spec_.ropes.data())];
    vectors_.push_back(std::move(vector));
  }
  if (!spec_.alibi_slopes.empty()) {
    Vector vector;
    vector.values = spec_.alibi_slopes;
    vector.shape = Shape{spec_.num_heads};
    vector.target = &weights_.alibi_slopes;
    vectors_.push_back(std::move(vector));
  }
  return OkStatus();
}

Status WeightSet::Resolve() {
  weights_.layers.resize(static_cast<size_t>(spec_.num_layers));
  weights_.inv_freqs.resize(spec_.ropes.size());
  RILL_RETURN_IF_ERROR(ResolveEnds());
  for (int32_t i = 0; i < spec_.num_layers; ++i) RILL_RETURN_IF_ERROR(ResolveLayer(i));
  RILL_RETURN_IF_ERROR(CheckPackedTwice());
  RILL_RETURN_IF_ERROR(CheckForgottenBiases());
  return CheckForgottenParts();
}

// Which of the two is the matrix, nothing says.
Status WeightSet::CheckPackedTwice() const {
  for (const io::TensorEntry* entry : used_) {
    std::string_view base = entry->name;
    const bool packed = base.ends_with(".qweight");
    if (!packed && !base.ends_with(".weight")) continue;
    base.remove_suffix(packed ? 8 : 7);
    const std::string other = std::string(base) + (packed ? ".weight" : ".qweight");
    if (tensors_.Find(other) == nullptr) continue;
    return InvalidArgument(fmt::format(
        "{}: tensors '{}.qweight' and '{}.weight': the file has both; expected one of them, the "
        "packed or the plain one; supported: {}",
        culprit_, base, base, kSupportedQuantConfigs));
  }
  return OkStatus();
}

bool IsAllZero(const TensorView& view) {
  if (view.data == nullptr) return false;
  int64_t width = 0;  // of an element that has a sign of its own, in its last bit
  switch (view.dtype) {
    case DType::kF16:
    case DType::kBF16: width = 2; break;
    case DType::kF32: width = 4; break;
    case DType::kF64: width = 8; break;
    default: break;
  }
  const auto* bytes = reinterpret_cast<const uint8_t*>(view.data);
  for (int64_t i = 0; i < view.SizeBytes(); ++i) {
    const bool has_sign = width > 0 && i % width == width - 1;
    if ((has_sign ? bytes[i] & 0x7F : bytes[i]) != 0) return false;
  }
  return true;
}

// A bias that the file has and the configuration does not mention would change every answer.
Status WeightSet::CheckForgottenBiases() const {
  std::unordered_set<std::string_view> used;
  for (const io::TensorEntry* entry : used_) used.insert(entry->name);
  for (const io::TensorEntry* entry : used_) {
    std::string_view name = entry->name;
    const bool packed = name.ends_with(".qweight");
    if (!packed && !name.ends_with(".weight")) continue;
    name.remove_suffix(packed ? 7 : 6);
    const std::string bias = std::string(name) + "bias";
    const io::TensorEntry* found = tensors_.Find(bias);
    if (found == nullptr || used.contains(bias)) continue;
    // AutoGPTQ writes biases of zeros where the network has none.
    if (packed && IsAllZero(found->view)) continue;
    return InvalidArgument(fmt::format(
        "{}: tensor '{}': the file has {} of {}, but the configuration of a '{}' network has no "
        "such bias; supported: a configuration that has it, a file without it{}",
        culprit_, bias, found->view.shape.ToString(), DTypeName(found->view.dtype), spec_.family,
        packed ? ", or, beside packed weights, a bias of zeros" : ""));
  }
  return OkStatus();
}

namespace {
// "a.b" of "a.b.c"; empty for a name without a dot.
std::string_view ParentOf(std::string_view name) {
  const size_t dot = name.rfind('.');
  return dot == name.npos ? std::string_view() : name.substr(0, dot);
}
}  // namespace

// A module with a weight is a matrix, a norm or a table, so whatever else it has (scales and zero
// points of a quantiser, halves of an adapter) belongs to what it computes. Names take up to three
// components after the module's: q_proj.weight_scale, q_proj.weight.quant_state.bitsandbytes__nf4.
Status WeightSet::CheckForgottenParts() const {
  const std::unordered_set<const io::TensorEntry*> used(used_.begin(), used_.end());
  std::unordered_map<std::string_view, std::string_view> modules;  // name -> its weight
  std::unordered_set<std::string_view> parents;                    // of modules
  for (const io::TensorEntry* entry : used_) {
    const std::string_view name = entry->name;
    for (const std::string_view suffix : {".weight", ".qweight"}) {
      if (!name.ends_with(suffix)) continue;
      const std::string_view module = name.substr(0, name.size() - suffix.size());
      modules.emplace(module, name);
      parents.insert(ParentOf(module));
    }
  }
  for (const io::TensorEntry& entry : tensors_.entries()) {
    if (used.contains(&entry)) continue;
    const std::string_view name = entry.name;
    // AutoAWQ's mlp.act.scales: what an activation is divided by before the matrix that reads it.
    // It is a module without a weight, beside modules that have one.
    const std::string_view owner = ParentOf(name);
    if (name.ends_with(".scales") && !modules.contains(owner) &&
        parents.contains(ParentOf(owner))) {
      return Unsupported(fmt::format(
          "{}: tensor '{}': divides what '{}' gives, and is not read, so the network would be "
          "another; supported: {}",
          culprit_, name, owner, kSupportedQuantConfigs));
    }
    size_t dot = name.size();
    for (int components = 1; components <= 3 && dot > 0; ++components) {
      dot = name.rfind('.', dot - 1);
      if (dot == name.npos) break;
      const auto module = modules.find(name.substr(0, dot));
      if (module == modules.end()) continue;
      // Biases have their own check. Scales of an 8-bit KV cache are no part of the weights.
      const std::string_view part = name.substr(dot + 1);
      if (part == "bias" || part == "k_scale" || part == "v_scale") continue;
      return Unsupported(fmt::format(
          "{}: tensor '{}': belongs to '{}', which is read without it, so the network would be "
          "another; supported beside a weight: a bias, and the tensors of {}",
          culprit_, name, module->second, kSupportedQuantConfigs));
    }
  }
  return OkStatus();
}

std::vector<std::string> WeightSet::UnusedTensors() const {
  std::unordered_set<const io::TensorEntry*> used(used_.begin(), used_.end());
  std::vector<std::string> out;
  for (const io::TensorEntry& entry : tensors_.entries()) {
    if (!used.contains(&entry)) out.push_back(entry.name);
  }
  return out;
}

WeightSet::Sizes WeightSet::sizes() const {
  Sizes out;
  for (const Matrix& matrix : matrices_) {
    for (const Part& part : matrix.parts) {
      out.file_bytes += part.file_bytes;
      out.num_parameters += part.view.shape.NumElements();
    }
  }
  for (const Vector& vector : vectors_) {
    for (const TensorView& part : vector.parts) {
      if (part.empty()) continue;
      out.file_bytes += part.SizeBytes();
      out.num_parameters += part.shape.NumElements();
    }
  }
  return out;
}

}  // namespace rill::model
