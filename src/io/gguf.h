// GGUF v1, v2, v3 files: typed metadata and a tensor directory.
//
// Layout (little-endian; source: the GGUF specification in the ggml project's docs/gguf.md):
//   "GGUF" u32 version | u64 num_tensors | u64 num_kv | kv pairs | tensor infos | padding | data
// v1 uses u32 for counts and lengths. Every length is checked against the bytes that are left
// before anything is allocated; all arithmetic is checked. Big-endian files are refused, and so
// are arrays of arrays (no released model has one).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "io/mapped_file.h"
#include "io/tensor_directory.h"
#include "rill/status.h"

namespace rill::io {

// What a file may hold at most; above, the error names the limit. docs/formats.md lists them.
struct GgufLimits {
  static constexpr uint64_t kMaxPairs = 65'536;
  static constexpr uint64_t kMaxTensors = 65'536;
  static constexpr uint64_t kMaxStringBytes = 64u << 20;
  static constexpr uint64_t kMaxKeyBytes = 65'535;
  static constexpr uint64_t kMaxArrayElements = 16u << 20;  // all arrays of a file together
  static constexpr uint64_t kMaxTensorNameBytes = 64;
  static constexpr uint64_t kMaxAlignment = 65'536;
  static constexpr int64_t kMaxParts = 1'024;
};

enum class GgufType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};
std::string_view GgufTypeName(GgufType type);

// A metadata array. Numbers are widened: signed to int64, unsigned and bool to uint64, f32 to f64.
// Strings are views into the mapping.
struct GgufArray {
  GgufType element_type = GgufType::kU8;
  std::variant<std::vector<int64_t>, std::vector<uint64_t>, std::vector<double>,
               std::vector<std::string_view>>
      values;
  size_t size() const;
};

struct GgufValue {
  GgufType type = GgufType::kU8;
  // bool, any signed integer, any unsigned integer, any float, string, array
  std::variant<bool, int64_t, uint64_t, double, std::string_view, GgufArray> value;
};

// Metadata with typed reads. Absent -> nullopt (or the fallback); wrong type -> an error that
// names file, key, expected and found type. Thread-safe (immutable).
class GgufMetadata {
 public:
  const GgufValue* Find(std::string_view key) const;
  bool Has(std::string_view key) const { return Find(key) != nullptr; }
  // Any integer type that fits; floats are not integers.
  Result<std::optional<int64_t>> GetInt(std::string_view key) const;
  Result<std::optional<double>> GetFloat(std::string_view key) const;  // integers widen
  Result<std::optional<bool>> GetBool(std::string_view key) const;
  Result<std::optional<std::string_view>> GetString(std::string_view key) const;
  Result<std::optional<std::vector<int64_t>>> GetInts(std::string_view key) const;
  Result<std::optional<std::vector<double>>> GetFloats(std::string_view key) const;
  Result<std::optional<std::span<const std::string_view>>> GetStrings(std::string_view key) const;

  struct Pair {
    std::string_view key;
    GgufValue value;
  };
  std::span<const Pair> pairs() const { return pairs_; }

  // For the parser.
  Status Add(std::string_view key, GgufValue value);
  void set_culprit(std::string culprit) { culprit_ = std::move(culprit); }

 private:
  std::vector<Pair> pairs_;
  std::unordered_map<std::string_view, size_t> by_key_;
  std::string culprit_;
};

struct GgufFile {
  uint32_t version = 0;
  uint64_t alignment = 32;
  GgufMetadata metadata;    // of the first part of a split model
  TensorDirectory tensors;  // of all parts; keeps the mappings (and the metadata's strings) alive
};

// Opens a file, or, when the metadata says split.count > 1, all its parts ("-00001-of-00003.gguf"
// beside it; any part may be named). Errors name file, field and byte offset.
Result<GgufFile> OpenGguf(const std::string& path, const OpenOptions& options = {});

// The same from bytes in memory, without parts; `bytes` must outlive the result. For fuzzing.
Result<GgufFile> ParseGguf(std::span<const std::byte> bytes, std::string_view culprit);

}  // namespace rill::io
