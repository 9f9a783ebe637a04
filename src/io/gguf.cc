#include "io/gguf.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>

#include "base/checked_math.h"
#include "base/utf8.h"

namespace rill::io {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF files are little-endian");

// Bytes of one element of a metadata type; 0 for strings and arrays.
uint64_t FixedSize(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool: return 1;
    case GgufType::kU16:
    case GgufType::kI16: return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32: return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64: return 8;
    case GgufType::kString:
    case GgufType::kArray: return 0;
  }
  return 0;
}

constexpr uint32_t kNumGgufTypes = 13;

// Tensor types that exist in ggml but not here, for a message that says more than a number.
std::string_view ForeignTypeName(uint32_t id) {
  switch (id) {
    case 4: return "q4_2, removed from ggml in 2023";
    case 5: return "q4_3, removed from ggml in 2023";
    case 9: return "q8_1, an intermediate format";
    case 16: return "iq2_xxs";
    case 17: return "iq2_xs";
    case 18: return "iq3_xxs";
    case 19: return "iq1_s";
    case 21: return "iq3_s";
    case 22: return "iq2_s";
    case 29: return "iq1_m";
    case 31: return "q4_0_4_4, removed from ggml in 2024";
    case 32: return "q4_0_4_8, removed from ggml in 2024";
    case 33: return "q4_0_8_8, removed from ggml in 2024";
    default: return "unknown to Rill";
  }
}

std::string SupportedTypes() {
  std::string list;
  for (const DTypeTraits& traits : kDTypeTraits) {
    if (traits.gguf_type < 0) continue;
    if (!list.empty()) list += ' ';
    list += traits.name;
  }
  return list;
}

// A cursor over hostile bytes. Every read names its field; errors name it and its byte offset.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::string_view culprit)
      : bytes_(bytes), culprit_(culprit) {}

  uint64_t offset() const { return offset_; }
  uint64_t left() const { return bytes_.size() - offset_; }
  void set_wide(bool wide) { wide_ = wide; }
  // Smallest possible string: its length field alone.
  uint64_t length_bytes() const { return wide_ ? 8 : 4; }

  Status Error(std::string_view field, std::string_view what) const {
    return ErrorAt(offset_, field, what);
  }
  Status ErrorAt(uint64_t offset, std::string_view field, std::string_view what) const {
    std::string text(culprit_);
    text += ": ";
    text += field;
    text += " at byte ";
    text += std::to_string(offset);
    text += ": ";
    text += what;
    return InvalidArgument(std::move(text));
  }

  template <typename T>
  Status Read(std::string_view field, T& out) {
    if (left() < sizeof(T)) {
      return Error(field, "the file ends here (needs " + std::to_string(sizeof(T)) +
                              " bytes, has " + std::to_string(left()) + ")");
    }
    std::memcpy(&out, bytes_.data() + offset_, sizeof(T));
    offset_ += sizeof(T);
    return OkStatus();
  }
  // A count or length: u64, or u32 in version 1.
  Status ReadLength(std::string_view field, uint64_t& out) {
    if (wide_) return Read(field, out);
    uint32_t narrow = 0;
    RILL_RETURN_IF_ERROR(Read(field, narrow));
    out = narrow;
    return OkStatus();
  }
  Status ReadString(std::string_view field, uint64_t max_bytes, std::string_view& out) {
    const uint64_t start = offset_;
    uint64_t length = 0;
    RILL_RETURN_IF_ERROR(ReadLength(field, length));
    if (length > max_bytes) {
      return ErrorAt(start, field,
                     "length " + std::to_string(length) + ", limit " + std::to_string(max_bytes));
    }
    if (length > left()) {
      return ErrorAt(start, field,
                     "length " + std::to_string(length) + ", but only " + std::to_string(left()) +
                         " bytes are left");
    }
    out = {reinterpret_cast<const char*>(bytes_.data() + offset_), static_cast<size_t>(length)};
    offset_ += length;
    return OkStatus();
  }

 private:
  std::span<const std::byte> bytes_;
  std::string_view culprit_;
  uint64_t offset_ = 0;
  bool wide_ = true;
};

Status CheckType(const Reader& reader, std::string_view field, uint32_t raw) {
  if (raw < kNumGgufTypes) return OkStatus();
  return reader.ErrorAt(reader.offset() - 4, field, "unknown metadata type " + std::to_string(raw));
}

template <typename T, typename Wide>
Status ReadNumbers(Reader& reader, std::string_view field, uint64_t count, GgufArray& out) {
  std::vector<Wide> list(count);  // count x sizeof(T) was checked against the bytes left
  for (Wide& value : list) {
    T raw{};
    RILL_RETURN_IF_ERROR(reader.Read(field, raw));
    value = static_cast<Wide>(raw);
  }
  out.values = std::move(list);
  return OkStatus();
}

Status ReadArray(Reader& reader, std::string_view field, uint64_t& elements_left, GgufArray& out) {
  uint32_t raw_type = 0;
  RILL_RETURN_IF_ERROR(reader.Read(field, raw_type));
  RILL_RETURN_IF_ERROR(CheckType(reader, field, raw_type));
  out.element_type = static_cast<GgufType>(raw_type);
  if (out.element_type == GgufType::kArray) {
    return reader.Error(field, "arrays of arrays are not supported");
  }
  const uint64_t start = reader.offset();
  uint64_t count = 0;
  RILL_RETURN_IF_ERROR(reader.ReadLength(field, count));
  const uint64_t element_bytes =
      out.element_type == GgufType::kString ? reader.length_bytes() : FixedSize(out.element_type);
  if (count > reader.left() / element_bytes) {
    return reader.ErrorAt(start, field,
                          "array of " + std::to_string(count) + " elements, but " + "only " +
                              std::to_string(reader.left()) + " bytes are left");
  }
  if (count > elements_left) {
    return reader.ErrorAt(start, field,
                          "array of " + std::to_string(count) +
                              " elements, limit for all arrays together " +
                              std::to_string(GgufLimits::kMaxArrayElements));
  }
  elements_left -= count;
  switch (out.element_type) {
    case GgufType::kU8: return ReadNumbers<uint8_t, uint64_t>(reader, field, count, out);
    case GgufType::kI8: return ReadNumbers<int8_t, int64_t>(reader, field, count, out);
    case GgufType::kU16: return ReadNumbers<uint16_t, uint64_t>(reader, field, count, out);
    case GgufType::kI16: return ReadNumbers<int16_t, int64_t>(reader, field, count, out);
    case GgufType::kU32: return ReadNumbers<uint32_t, uint64_t>(reader, field, count, out);
    case GgufType::kI32: return ReadNumbers<int32_t, int64_t>(reader, field, count, out);
    case GgufType::kF32: return ReadNumbers<float, double>(reader, field, count, out);
    case GgufType::kU64: return ReadNumbers<uint64_t, uint64_t>(reader, field, count, out);
    case GgufType::kI64: return ReadNumbers<int64_t, int64_t>(reader, field, count, out);
    case GgufType::kF64: return ReadNumbers<double, double>(reader, field, count, out);
    case GgufType::kBool: {
      const uint64_t first = reader.offset();
      RILL_RETURN_IF_ERROR((ReadNumbers<uint8_t, uint64_t>(reader, field, count, out)));
      const auto& list = std::get<std::vector<uint64_t>>(out.values);
      for (size_t i = 0; i < list.size(); ++i) {
        if (list[i] > 1) {
          return reader.ErrorAt(first + i, field,
                                "a bool must be 0 or 1, this is " + std::to_string(list[i]));
        }
      }
      return OkStatus();
    }
    case GgufType::kString: {
      std::vector<std::string_view> list(count);
      for (std::string_view& text : list) {
        RILL_RETURN_IF_ERROR(reader.ReadString(field, GgufLimits::kMaxStringBytes, text));
      }
      out.values = std::move(list);
      return OkStatus();
    }
    case GgufType::kArray: break;
  }
  return Internal("gguf: array element type was checked");
}

template <typename T, typename Wide>
Status ReadNumber(Reader& reader, std::string_view field, GgufValue& out) {
  T raw{};
  RILL_RETURN_IF_ERROR(reader.Read(field, raw));
  out.value = static_cast<Wide>(raw);
  return OkStatus();
}

Status ReadValue(Reader& reader, std::string_view field, uint64_t& elements_left, GgufValue& out) {
  uint32_t raw_type = 0;
  RILL_RETURN_IF_ERROR(reader.Read(field, raw_type));
  RILL_RETURN_IF_ERROR(CheckType(reader, field, raw_type));
  out.type = static_cast<GgufType>(raw_type);
  switch (out.type) {
    case GgufType::kU8: return ReadNumber<uint8_t, uint64_t>(reader, field, out);
    case GgufType::kI8: return ReadNumber<int8_t, int64_t>(reader, field, out);
    case GgufType::kU16: return ReadNumber<uint16_t, uint64_t>(reader, field, out);
    case GgufType::kI16: return ReadNumber<int16_t, int64_t>(reader, field, out);
    case GgufType::kU32: return ReadNumber<uint32_t, uint64_t>(reader, field, out);
    case GgufType::kI32: return ReadNumber<int32_t, int64_t>(reader, field, out);
    case GgufType::kF32: return ReadNumber<float, double>(reader, field, out);
    case GgufType::kU64: return ReadNumber<uint64_t, uint64_t>(reader, field, out);
    case GgufType::kI64: return ReadNumber<int64_t, int64_t>(reader, field, out);
    case GgufType::kF64: return ReadNumber<double, double>(reader, field, out);
    case GgufType::kBool: {
      uint8_t raw = 0;
      RILL_RETURN_IF_ERROR(reader.Read(field, raw));
      if (raw > 1) {
        return reader.ErrorAt(reader.offset() - 1, field,
                              "a bool must be 0 or 1, this is " + std::to_string(raw));
      }
      out.value = raw == 1;
      return OkStatus();
    }
    case GgufType::kString: {
      std::string_view text;
      RILL_RETURN_IF_ERROR(reader.ReadString(field, GgufLimits::kMaxStringBytes, text));
      out.value = text;
      return OkStatus();
    }
    case GgufType::kArray: {
      GgufArray array;
      RILL_RETURN_IF_ERROR(ReadArray(reader, field, elements_left, array));
      out.value = std::move(array);
      return OkStatus();
    }
  }
  return Internal("gguf: value type was checked");
}

struct TensorInfo {
  std::string_view name;
  DType dtype = DType::kF32;
  Shape shape;
  uint64_t offset = 0;  // from the start of the data
  uint64_t size_bytes = 0;
  uint64_t info_offset = 0;  // of this entry in the file, for messages
};

std::string TensorField(std::string_view name) {
  return "tensor '" + PrintableUtf8(name, GgufLimits::kMaxTensorNameBytes) + "'";
}

Status ReadTensorInfo(Reader& reader, uint64_t index, uint64_t alignment, TensorInfo& out) {
  out.info_offset = reader.offset();
  RILL_RETURN_IF_ERROR(reader.ReadString("name of tensor " + std::to_string(index),
                                         GgufLimits::kMaxTensorNameBytes, out.name));
  const std::string field = TensorField(out.name);
  if (out.name.empty()) return reader.ErrorAt(out.info_offset, field, "a tensor needs a name");
  uint32_t rank = 0;
  RILL_RETURN_IF_ERROR(reader.Read(field, rank));
  if (rank < 1 || rank > kMaxDims) {
    return reader.ErrorAt(reader.offset() - 4, field,
                          "expected 1 to 4 dimensions, file has " + std::to_string(rank));
  }
  uint64_t file_dims[kMaxDims];  // innermost first
  int64_t num_elements = 1;
  out.shape.rank = static_cast<int>(rank);
  for (uint32_t i = 0; i < rank; ++i) {
    RILL_RETURN_IF_ERROR(reader.ReadLength(field, file_dims[i]));
    if (file_dims[i] == 0 || file_dims[i] > uint64_t{INT64_MAX}) {
      return reader.Error(field,
                          "dimension " + std::to_string(i) + " is " + std::to_string(file_dims[i]));
    }
    const auto dim = static_cast<int64_t>(file_dims[i]);
    const auto product = CheckedMul(num_elements, dim);
    if (!product) return reader.Error(field, "the product of its dimensions overflows 64 bits");
    num_elements = *product;
    out.shape[static_cast<int>(rank - 1 - i)] = dim;
  }
  uint32_t type_id = 0;
  const uint64_t type_offset = reader.offset();
  RILL_RETURN_IF_ERROR(reader.Read(field, type_id));
  const std::optional<DType> dtype = DTypeFromGguf(type_id);
  if (!dtype) {
    return Unsupported(reader
                           .ErrorAt(type_offset, field,
                                    "type " + std::to_string(type_id) + " (" +
                                        std::string(ForeignTypeName(type_id)) +
                                        ") is not supported; supported: " + SupportedTypes())
                           .message());
  }
  out.dtype = *dtype;
  const int64_t row_elements = static_cast<int64_t>(file_dims[0]);
  if (row_elements % Traits(out.dtype).block_weights != 0) {
    return reader.ErrorAt(
        out.info_offset, field,
        "a row of " + std::to_string(row_elements) + " elements is not a whole number of " +
            std::string(DTypeName(out.dtype)) + " blocks of " +
            std::to_string(Traits(out.dtype).block_weights) +
            "; supported: rows in multiples of a type's block, of types " + SupportedTypes());
  }
  const std::optional<int64_t> row_bytes = RowBytes(out.dtype, row_elements);
  const auto size = row_bytes ? CheckedMul(num_elements / row_elements, *row_bytes) : std::nullopt;
  if (!size) return reader.ErrorAt(out.info_offset, field, "its size in bytes overflows 64 bits");
  out.size_bytes = static_cast<uint64_t>(*size);
  const uint64_t offset_at = reader.offset();
  RILL_RETURN_IF_ERROR(reader.Read(field, out.offset));
  if (out.offset % alignment != 0) {
    return reader.ErrorAt(offset_at, field,
                          "data offset " + std::to_string(out.offset) +
                              " is not a multiple of the alignment " + std::to_string(alignment));
  }
  return OkStatus();
}

Status CheckNoOverlap(const Reader& reader, std::span<const TensorInfo> infos) {
  std::vector<const TensorInfo*> by_offset;
  by_offset.reserve(infos.size());
  for (const TensorInfo& info : infos) by_offset.push_back(&info);
  std::sort(by_offset.begin(), by_offset.end(),
            [](const TensorInfo* a, const TensorInfo* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const TensorInfo& before = *by_offset[i - 1];
    if (before.offset + before.size_bytes > by_offset[i]->offset) {
      return reader.ErrorAt(by_offset[i]->info_offset, TensorField(by_offset[i]->name),
                            "its data overlap those of " + TensorField(before.name));
    }
  }
  return OkStatus();
}

Status ReadAlignment(const Reader& reader, const GgufMetadata& metadata, uint64_t& out) {
  RILL_ASSIGN_OR_RETURN(const std::optional<int64_t> value, metadata.GetInt("general.alignment"));
  if (!value) return OkStatus();
  if (*value < 8 || *value > static_cast<int64_t>(GgufLimits::kMaxAlignment) ||
      !std::has_single_bit(static_cast<uint64_t>(*value))) {
    return reader.Error("metadata 'general.alignment', read before tensor infos",
                        "expected a power of two from 8 to " +
                            std::to_string(GgufLimits::kMaxAlignment) + ", file has " +
                            std::to_string(*value));
  }
  out = static_cast<uint64_t>(*value);
  return OkStatus();
}

// Parses one file: `version`, `alignment`, `metadata` are set, tensors appended to `tensors`.
Status ParsePart(std::span<const std::byte> bytes, std::string_view culprit, uint32_t file_index,
                 GgufFile& out, TensorDirectory& tensors) {
  Reader reader(bytes, culprit);
  uint32_t magic = 0;
  RILL_RETURN_IF_ERROR(reader.Read("magic", magic));
  if (magic != 0x46554747u) {  // "GGUF"
    return reader.ErrorAt(0, "magic", "this is not a GGUF file (it does not start with \"GGUF\")");
  }
  RILL_RETURN_IF_ERROR(reader.Read("version", out.version));
  if ((out.version & 0xFFFFu) == 0 && out.version != 0) {
    return Unsupported(
        reader.ErrorAt(4, "version", "big-endian GGUF files are not supported").message());
  }
  if (out.version < 1 || out.version > 3) {
    return Unsupported(
        reader
            .ErrorAt(4, "version",
                     "expected GGUF version 1, 2 or 3, file has " + std::to_string(out.version))
            .message());
  }
  reader.set_wide(out.version >= 2);
  uint64_t num_tensors = 0;
  uint64_t num_pairs = 0;
  RILL_RETURN_IF_ERROR(reader.ReadLength("number of tensors", num_tensors));
  if (num_tensors > GgufLimits::kMaxTensors) {
    return reader.ErrorAt(
        8, "number of tensors",
        std::to_string(num_tensors) + ", limit " + std::to_string(GgufLimits::kMaxTensors));
  }
  const uint64_t pairs_at = reader.offset();
  RILL_RETURN_IF_ERROR(reader.ReadLength("number of metadata pairs", num_pairs));
  if (num_pairs > GgufLimits::kMaxPairs) {
    return reader.ErrorAt(
        pairs_at, "number of metadata pairs",
        std::to_string(num_pairs) + ", limit " + std::to_string(GgufLimits::kMaxPairs));
  }
  out.metadata.set_culprit(std::string(culprit));
  uint64_t elements_left = GgufLimits::kMaxArrayElements;
  for (uint64_t i = 0; i < num_pairs; ++i) {
    const uint64_t start = reader.offset();
    std::string_view key;
    RILL_RETURN_IF_ERROR(reader.ReadString("key of metadata pair " + std::to_string(i),
                                           GgufLimits::kMaxKeyBytes, key));
    const std::string field = "metadata '" + PrintableUtf8(key, 100) + "'";
    if (key.empty()) return reader.ErrorAt(start, field, "a key cannot be empty");
    GgufValue value;
    RILL_RETURN_IF_ERROR(ReadValue(reader, field, elements_left, value));
    const Status added = out.metadata.Add(key, std::move(value));
    if (!added.ok()) return reader.ErrorAt(start, field, added.message());
  }
  out.alignment = 32;
  RILL_RETURN_IF_ERROR(ReadAlignment(reader, out.metadata, out.alignment));

  std::vector<TensorInfo> infos;
  for (uint64_t i = 0; i < num_tensors; ++i) {  // no reserve: the count is only a claim
    RILL_RETURN_IF_ERROR(ReadTensorInfo(reader, i, out.alignment, infos.emplace_back()));
  }
  if (infos.empty()) return OkStatus();
  const auto data_start = CheckedAlignUp<uint64_t>(reader.offset(), out.alignment);
  if (!data_start || *data_start > bytes.size()) {
    return reader.Error("tensor data", "the file ends before them");
  }
  const uint64_t data_bytes = bytes.size() - *data_start;
  for (const TensorInfo& info : infos) {
    const auto end = CheckedAdd(info.offset, info.size_bytes);
    if (!end || *end > data_bytes) {
      return reader.ErrorAt(info.info_offset, TensorField(info.name),
                            "its data (offset " + std::to_string(info.offset) + ", " +
                                std::to_string(info.size_bytes) +
                                " bytes) reach beyond the end of the file (" +
                                std::to_string(data_bytes) + " bytes of data)");
    }
  }
  RILL_RETURN_IF_ERROR(CheckNoOverlap(reader, infos));
  for (const TensorInfo& info : infos) {
    TensorEntry entry;
    entry.name = std::string(info.name);
    entry.offset_bytes = *data_start + info.offset;
    entry.view = TensorView(bytes.data() + entry.offset_bytes, info.dtype, info.shape);
    entry.file_index = file_index;
    const Status added = tensors.Add(std::move(entry));
    if (!added.ok()) {
      return reader.ErrorAt(info.info_offset, TensorField(info.name), added.message());
    }
  }
  return OkStatus();
}

// "<prefix>-00001-of-00003.gguf": the prefix, or nullopt when `name` is not of that form.
std::optional<std::string> SplitPrefix(std::string_view name) {
  constexpr std::string_view kForm = "-NNNNN-of-NNNNN.gguf";
  if (name.size() <= kForm.size()) return std::nullopt;
  const std::string_view tail = name.substr(name.size() - kForm.size());
  for (size_t i = 0; i < kForm.size(); ++i) {
    const bool matches = kForm[i] == 'N' ? tail[i] >= '0' && tail[i] <= '9' : tail[i] == kForm[i];
    if (!matches) return std::nullopt;
  }
  return std::string(name.substr(0, name.size() - kForm.size()));
}

Result<GgufFile> OpenParts(const std::string& path, int64_t num_parts, const OpenOptions& options) {
  const size_t slash = path.rfind('/');
  const std::string folder =
      slash == std::string::npos ? "." : path.substr(0, slash == 0 ? 1 : slash);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  const std::optional<std::string> prefix = SplitPrefix(name);
  if (!prefix) {
    return InvalidArgument(PrintableUtf8(path) + ": one part of a model split into " +
                           std::to_string(num_parts) +
                           ", expected a name that ends in -00001-of-NNNNN.gguf");
  }
  GgufFile out;
  std::optional<int64_t> expected_tensors;
  for (int64_t part = 0; part < num_parts; ++part) {
    char tail[32];
    std::snprintf(tail, sizeof tail, "-%05d-of-%05d.gguf", static_cast<int>(part + 1),
                  static_cast<int>(num_parts));
    const std::string part_name = *prefix + tail;
    const std::string part_path = folder + "/" + part_name;
    RILL_ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file,
                          MappedFile::OpenBeneath(folder, part_name, options));
    const std::span<const std::byte> bytes = file->bytes();
    const uint32_t file_index = out.tensors.AddFile(std::move(file));
    GgufFile this_part;
    RILL_RETURN_IF_ERROR(ParsePart(bytes, part_path, file_index, this_part, out.tensors));
    RILL_ASSIGN_OR_RETURN(const auto number, this_part.metadata.GetInt("split.no"));
    RILL_ASSIGN_OR_RETURN(const auto count, this_part.metadata.GetInt("split.count"));
    if (number != part || count != num_parts) {
      return InvalidArgument(PrintableUtf8(part_path) + ": expected split.no " +
                             std::to_string(part) + " and split.count " +
                             std::to_string(num_parts) + ", file has " +
                             (number ? std::to_string(*number) : "none") + " and " +
                             (count ? std::to_string(*count) : "none"));
    }
    if (part == 0) {
      RILL_ASSIGN_OR_RETURN(expected_tensors, this_part.metadata.GetInt("split.tensors.count"));
      out.version = this_part.version;
      out.alignment = this_part.alignment;
      out.metadata = std::move(this_part.metadata);
    }
  }
  const auto num_tensors = static_cast<int64_t>(out.tensors.entries().size());
  if (expected_tensors && *expected_tensors != num_tensors) {
    return InvalidArgument(PrintableUtf8(path) + ": split.tensors.count says " +
                           std::to_string(*expected_tensors) + " tensors, the parts have " +
                           std::to_string(num_tensors));
  }
  return out;
}

}  // namespace

Result<GgufFile> ParseGguf(std::span<const std::byte> bytes, std::string_view culprit) {
  GgufFile out;
  RILL_RETURN_IF_ERROR(ParsePart(bytes, culprit, 0, out, out.tensors));
  return out;
}

Result<GgufFile> OpenGguf(const std::string& path, const OpenOptions& options) {
  RILL_ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, MappedFile::Open(path, options));
  const std::span<const std::byte> bytes = file->bytes();
  GgufFile out;
  const uint32_t file_index = out.tensors.AddFile(std::move(file));
  const std::string culprit = PrintableUtf8(path, 1000);
  RILL_RETURN_IF_ERROR(ParsePart(bytes, culprit, file_index, out, out.tensors));
  RILL_ASSIGN_OR_RETURN(const auto num_parts, out.metadata.GetInt("split.count"));
  if (!num_parts || *num_parts <= 1) return out;
  if (*num_parts > GgufLimits::kMaxParts) {
    return InvalidArgument(culprit + ": split.count " + std::to_string(*num_parts) + ", limit " +
                           std::to_string(GgufLimits::kMaxParts));
  }
  return OpenParts(path, *num_parts, options);
}

}  // namespace rill::io
