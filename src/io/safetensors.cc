#include "io/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>

#include "base/checked_math.h"
#include "base/json.h"
#include "base/utf8.h"
#include "io/safe_open.h"

namespace rill::io {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian");

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit
constexpr size_t kMaxTensors = 65'536;
constexpr size_t kMaxNameBytes = 4'096;
constexpr size_t kMaxFileRank = 8;
constexpr size_t kMaxShards = 1'024;
constexpr size_t kMaxIndexBytes = 32u << 20;
constexpr size_t kMaxJsonNodes = 2'000'000;

struct NamedDType {
  std::string_view name;
  DType dtype;
};
constexpr NamedDType kDTypes[] = {
    {"F64", DType::kF64},   {"F32", DType::kF32},        {"F16", DType::kF16},
    {"BF16", DType::kBF16}, {"F8_E4M3", DType::kF8E4M3}, {"F8_E5M2", DType::kF8E5M2},
    {"I64", DType::kI64},   {"I32", DType::kI32},        {"I16", DType::kI16},
    {"I8", DType::kI8},     {"U8", DType::kU8},          {"BOOL", DType::kBool},
};

struct Tensor {
  std::string_view name;
  DType dtype = DType::kF32;
  Shape shape;
  uint64_t begin = 0;  // from the start of the data
  uint64_t end = 0;
};

Status Error(std::string_view culprit, std::string_view what) {
  return InvalidArgument(std::string(culprit) + ": " + std::string(what));
}

Status TensorError(std::string_view culprit, std::string_view name, std::string_view what) {
  return Error(culprit, "tensor '" + PrintableUtf8(name, 100) + "': " + std::string(what));
}

Result<DType> ParseDType(std::string_view culprit, std::string_view tensor,
                         const std::string& name) {
  for (const NamedDType& entry : kDTypes) {
    if (entry.name == name) return entry.dtype;
  }
  std::string list;
  for (const NamedDType& entry : kDTypes) {
    if (!list.empty()) list += ' ';
    list += entry.name;
  }
  return Unsupported(
      TensorError(culprit, tensor,
                  "dtype '" + PrintableUtf8(name, 32) + "' is not supported; supported: " + list)
          .message());
}

// One header entry: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, nothing else.
Status ParseTensor(std::string_view culprit, std::string_view name, const Json& entry,
                   uint64_t data_bytes, Tensor& out) {
  out.name = name;
  if (name.empty()) return Error(culprit, "a tensor needs a name");
  if (name.size() > kMaxNameBytes) {
    return TensorError(culprit, name,
                       "its name has " + std::to_string(name.size()) + " bytes, limit " +
                           std::to_string(kMaxNameBytes));
  }
  if (!entry.is_object()) return TensorError(culprit, name, "expected an object");
  const Json* dtype = entry.Find("dtype");
  const Json* shape = entry.Find("shape");
  const Json* offsets = entry.Find("data_offsets");
  if (!dtype || !dtype->is_string() || !shape || !shape->is_array() || !offsets ||
      !offsets->is_array() || entry.object().size() != 3) {
    return TensorError(culprit, name,
                       "expected exactly dtype (string), shape (array), data_offsets (array)");
  }
  RILL_ASSIGN_OR_RETURN(out.dtype, ParseDType(culprit, name, dtype->string_value()));
  const Json::Array& dims = shape->array();
  if (dims.size() > kMaxFileRank) {
    return TensorError(
        culprit, name,
        std::to_string(dims.size()) + " dimensions, limit " + std::to_string(kMaxFileRank));
  }
  if (dims.size() > kMaxDims) {
    return Unsupported(TensorError(culprit, name,
                                   std::to_string(dims.size()) +
                                       " dimensions are not supported; supported: at most " +
                                       std::to_string(kMaxDims))
                           .message());
  }
  // Of a shape with a 0 the other dimensions count as well: strides are products of them.
  uint64_t bytes = static_cast<uint64_t>(Traits(out.dtype).block_bytes);
  bool is_empty = false;
  out.shape.rank = static_cast<int>(dims.size());
  for (size_t i = 0; i < dims.size(); ++i) {
    if (!dims[i].FitsInt64() || dims[i].int_value() < 0) {
      return TensorError(culprit, name,
                         "dimension " + std::to_string(i) +
                             " is not a size: " + PrintableUtf8(dims[i].Dump(), 40));
    }
    const int64_t dim = dims[i].int_value();
    is_empty |= dim == 0;
    const auto product = CheckedMul(bytes, static_cast<uint64_t>(std::max<int64_t>(dim, 1)));
    if (!product || *product > uint64_t{INT64_MAX}) {
      return TensorError(culprit, name, "its size in bytes overflows 64 bits");
    }
    bytes = *product;
    out.shape[static_cast<int>(i)] = dim;
  }
  if (is_empty) bytes = 0;
  const Json::Array& range = offsets->array();
  if (range.size() != 2 || !range[0].FitsInt64() || !range[1].FitsInt64() ||
      range[0].int_value() < 0 || range[1].int_value() < range[0].int_value()) {
    return TensorError(culprit, name, "data_offsets must be [begin, end] with 0 <= begin <= end");
  }
  out.begin = static_cast<uint64_t>(range[0].int_value());
  out.end = static_cast<uint64_t>(range[1].int_value());
  if (out.end > data_bytes) {
    return TensorError(culprit, name,
                       "its data end at byte " + std::to_string(out.end) + " of " +
                           std::to_string(data_bytes) + " bytes of data");
  }
  if (out.end - out.begin != bytes) {
    return TensorError(culprit, name,
                       "shape " + out.shape.ToString() + " of " +
                           std::string(DTypeName(out.dtype)) + " needs " + std::to_string(bytes) +
                           " bytes, data_offsets give " + std::to_string(out.end - out.begin));
  }
  return OkStatus();
}

Status CheckMetadata(std::string_view culprit, const Json& metadata) {
  bool ok = metadata.is_object();
  if (ok) {
    for (const auto& [key, value] : metadata.object()) ok = ok && value.is_string();
  }
  return ok ? OkStatus() : Error(culprit, "__metadata__: expected an object of strings");
}

// No holes, no overlap, nothing after the last tensor: what the file holds is what it says.
Status CheckContiguous(std::string_view culprit, std::vector<Tensor>& tensors,
                       uint64_t data_bytes) {
  std::sort(tensors.begin(), tensors.end(), [](const Tensor& a, const Tensor& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  uint64_t position = 0;
  for (const Tensor& tensor : tensors) {
    if (tensor.begin != position) {
      return TensorError(culprit, tensor.name,
                         std::string(tensor.begin < position ? "its data overlap the tensor "
                                                             : "there is a hole in the data ") +
                             "before it: expected to begin at byte " + std::to_string(position) +
                             ", data_offsets say " + std::to_string(tensor.begin));
    }
    position = tensor.end;
  }
  if (position != data_bytes) {
    return Error(culprit, std::to_string(data_bytes - position) +
                              " bytes after the last tensor's data (expected the file to end)");
  }
  return OkStatus();
}

bool IsMisaligned(const std::byte* data, DType dtype) {
  return reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(Traits(dtype).block_bytes) != 0;
}

// Tensors that the file puts at an odd address are copied to where the CPU can read them: files of
// early writers do not pad the header. Everything else stays in the mapping.
Status AddTensors(std::span<const std::byte> data, uint64_t data_start, std::string_view culprit,
                  uint32_t file_index, std::span<const Tensor> tensors, TensorDirectory& out) {
  constexpr uint64_t kCopyAlignment = 64;
  uint64_t copy_bytes = 0;
  for (const Tensor& tensor : tensors) {
    if (!IsMisaligned(data.data() + tensor.begin, tensor.dtype)) continue;
    copy_bytes += (tensor.end - tensor.begin + kCopyAlignment - 1) / kCopyAlignment *
                  kCopyAlignment;  // <= 64 x tensors above the size of the file: cannot overflow
  }
  std::byte* copy = nullptr;
  uint32_t copy_index = 0;
  if (copy_bytes > 0) {
    RILL_ASSIGN_OR_RETURN(std::shared_ptr<MappedFile> memory,
                          MappedFile::Allocate(copy_bytes, std::string(culprit)));
    copy = memory->mutable_data();
    copy_index = out.AddFile(std::move(memory));
  }
  uint64_t copied = 0;
  for (const Tensor& tensor : tensors) {
    const std::byte* bytes = data.data() + tensor.begin;
    TensorEntry entry;
    entry.name = std::string(tensor.name);
    entry.file_index = file_index;
    entry.offset_bytes = data_start + tensor.begin;
    if (IsMisaligned(bytes, tensor.dtype)) {
      const uint64_t size_bytes = tensor.end - tensor.begin;
      if (size_bytes > 0) std::memcpy(copy + copied, bytes, size_bytes);
      bytes = copy + copied;
      entry.file_index = copy_index;
      entry.offset_bytes = copied;
      copied += (size_bytes + kCopyAlignment - 1) / kCopyAlignment * kCopyAlignment;
    }
    entry.view = TensorView(bytes, tensor.dtype, tensor.shape);
    const Status added = out.Add(std::move(entry));
    if (!added.ok()) return Error(culprit, added.message());
  }
  return OkStatus();
}

Status ParseFile(std::span<const std::byte> bytes, std::string_view culprit, uint32_t file_index,
                 TensorDirectory& out) {
  uint64_t header_bytes = 0;
  if (bytes.size() < sizeof header_bytes) {
    return Error(culprit, "not a safetensors file: " + std::to_string(bytes.size()) +
                              " bytes, the header's length alone has 8");
  }
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  if (header_bytes > kMaxHeaderBytes) {
    return Error(culprit, "header length at byte 0: " + std::to_string(header_bytes) +
                              " bytes, limit " + std::to_string(kMaxHeaderBytes));
  }
  if (header_bytes > bytes.size() - sizeof header_bytes) {
    return Error(culprit, "header length at byte 0: " + std::to_string(header_bytes) +
                              " bytes, but only " +
                              std::to_string(bytes.size() - sizeof header_bytes) + " follow");
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + sizeof header_bytes,
                              static_cast<size_t>(header_bytes));
  if (!text.starts_with('{')) return Error(culprit, "the header at byte 8 must begin with '{'");
  const JsonLimits limits{.max_bytes = kMaxHeaderBytes, .max_depth = 8, .max_nodes = kMaxJsonNodes};
  RILL_ASSIGN_OR_RETURN(const Json header,
                        Json::Parse(text, std::string(culprit) + ": header", limits));
  const uint64_t data_start = sizeof header_bytes + header_bytes;
  const std::span<const std::byte> data = bytes.subspan(data_start);
  std::vector<Tensor> tensors;
  for (const auto& [name, entry] : header.object()) {
    if (name == "__metadata__") {
      RILL_RETURN_IF_ERROR(CheckMetadata(culprit, entry));
      continue;
    }
    if (tensors.size() == kMaxTensors) {
      return Error(culprit, "more than " + std::to_string(kMaxTensors) + " tensors");
    }
    RILL_RETURN_IF_ERROR(ParseTensor(culprit, name, entry, data.size(), tensors.emplace_back()));
  }
  RILL_RETURN_IF_ERROR(CheckContiguous(culprit, tensors, data.size()));
  return AddTensors(data, data_start, culprit, file_index, tensors, out);
}

}  // namespace

Status ParseSafetensors(std::span<const std::byte> bytes, std::string_view culprit,
                        TensorDirectory& out) {
  return ParseFile(bytes, culprit, 0, out);
}

Status OpenSafetensors(const std::string& path, const OpenOptions& options, TensorDirectory& out) {
  RILL_ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, MappedFile::Open(path, options));
  const std::span<const std::byte> bytes = file->bytes();
  const uint32_t file_index = out.AddFile(std::move(file));
  return ParseFile(bytes, PrintableUtf8(path, 1000), file_index, out);
}

Status OpenSafetensorsIndex(const std::string& index_path, const OpenOptions& options,
                            TensorDirectory& out) {
  const std::string culprit = PrintableUtf8(index_path, 1000);
  RILL_ASSIGN_OR_RETURN(const OpenedFile opened, OpenRegularFile(index_path));
  RILL_ASSIGN_OR_RETURN(const std::string text, ReadAll(opened, index_path, kMaxIndexBytes));
  RILL_ASSIGN_OR_RETURN(const Json index, Json::Parse(text, culprit));
  const Json* weight_map = index.Find("weight_map");
  if (!weight_map || !weight_map->is_object() || weight_map->object().empty()) {
    return Error(culprit, "expected a non-empty object \"weight_map\": tensor name -> shard");
  }
  const size_t slash = index_path.rfind('/');
  const std::string folder =
      slash == std::string::npos ? "." : index_path.substr(0, slash == 0 ? 1 : slash);
  std::map<std::string_view, uint32_t> shards;  // name -> file index; sorted: errors are stable
  for (const auto& [name, shard] : weight_map->object()) {
    if (!shard.is_string()) return TensorError(culprit, name, "its shard must be a string");
    const std::string& file_name = shard.string_value();
    if (!IsPlainFileName(file_name) || !file_name.ends_with(".safetensors")) {
      return TensorError(culprit, name,
                         "its shard '" + PrintableUtf8(file_name, 100) +
                             "' must be the plain name of a .safetensors file in the same folder");
    }
    shards.try_emplace(file_name, 0);
    if (shards.size() > kMaxShards) {
      return Error(culprit, "more than " + std::to_string(kMaxShards) + " shards");
    }
  }
  std::map<std::string_view, std::pair<size_t, size_t>> ranges;  // shard -> its entries in `out`
  for (auto& [file_name, file_index] : shards) {
    RILL_ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file,
                          MappedFile::OpenBeneath(folder, file_name, options));
    const std::span<const std::byte> bytes = file->bytes();
    const std::string shard_path = PrintableUtf8(file->path(), 1000);
    file_index = out.AddFile(std::move(file));
    const size_t first = out.entries().size();
    RILL_RETURN_IF_ERROR(ParseFile(bytes, shard_path, file_index, out));
    ranges[file_name] = {first, out.entries().size()};
  }
  for (const auto& [name, shard] : weight_map->object()) {
    const TensorEntry* entry = out.Find(name);
    const auto [first, last] = ranges[shard.string_value()];
    const size_t position = entry ? static_cast<size_t>(entry - out.entries().data()) : last;
    if (position < first || position >= last) {
      return TensorError(
          culprit, name,
          "not in shard '" + shard.string_value() + "', where weight_map says it is");
    }
  }
  return OkStatus();
}

}  // namespace rill::io
