// GgufMetadata: typed reads of GGUF key-value pairs.
#include <string>

#include "base/utf8.h"
#include "io/gguf.h"

namespace rill::io {
namespace {

std::string TypeOf(const GgufValue& value) {
  if (const auto* array = std::get_if<GgufArray>(&value.value)) {
    return "array of " + std::string(GgufTypeName(array->element_type));
  }
  return std::string(GgufTypeName(value.type));
}

Status WrongType(const std::string& culprit, std::string_view key, std::string_view expected,
                 const GgufValue& value) {
  return InvalidArgument(culprit + ": metadata '" + PrintableUtf8(key) + "': expected " +
                         std::string(expected) + ", file has " + TypeOf(value));
}

}  // namespace

std::string_view GgufTypeName(GgufType type) {
  switch (type) {
    case GgufType::kU8: return "u8";
    case GgufType::kI8: return "i8";
    case GgufType::kU16: return "u16";
    case GgufType::kI16: return "i16";
    case GgufType::kU32: return "u32";
    case GgufType::kI32: return "i32";
    case GgufType::kF32: return "f32";
    case GgufType::kBool: return "bool";
    case GgufType::kString: return "string";
    case GgufType::kArray: return "array";
    case GgufType::kU64: return "u64";
    case GgufType::kI64: return "i64";
    case GgufType::kF64: return "f64";
  }
  return "unknown";
}

size_t GgufArray::size() const {
  return std::visit([](const auto& list) { return list.size(); }, values);
}

const GgufValue* GgufMetadata::Find(std::string_view key) const {
  const auto it = by_key_.find(key);
  return it == by_key_.end() ? nullptr : &pairs_[it->second].value;
}

Status GgufMetadata::Add(std::string_view key, GgufValue value) {
  if (!by_key_.try_emplace(key, pairs_.size()).second) {
    return InvalidArgument("duplicate metadata key '" + PrintableUtf8(key) + "'");
  }
  pairs_.push_back({key, std::move(value)});
  return OkStatus();
}

Result<std::optional<int64_t>> GgufMetadata::GetInt(std::string_view key) const {
  const GgufValue* found = Find(key);
  if (!found) return std::optional<int64_t>();
  if (const auto* v = std::get_if<int64_t>(&found->value)) return std::optional<int64_t>(*v);
  if (const auto* v = std::get_if<uint64_t>(&found->value)) {
    if (*v <= uint64_t{INT64_MAX}) return std::optional<int64_t>(static_cast<int64_t>(*v));
    return InvalidArgument(culprit_ + ": metadata '" + PrintableUtf8(key) + "': " +
                           std::to_string(*v) + " is above the largest signed 64-bit integer");
  }
  return WrongType(culprit_, key, "an integer", *found);
}

Result<std::optional<double>> GgufMetadata::GetFloat(std::string_view key) const {
  const GgufValue* found = Find(key);
  if (!found) return std::optional<double>();
  if (const auto* v = std::get_if<double>(&found->value)) return std::optional<double>(*v);
  if (const auto* v = std::get_if<int64_t>(&found->value)) {
    return std::optional<double>(static_cast<double>(*v));
  }
  if (const auto* v = std::get_if<uint64_t>(&found->value)) {
    return std::optional<double>(static_cast<double>(*v));
  }
  return WrongType(culprit_, key, "a number", *found);
}

Result<std::optional<bool>> GgufMetadata::GetBool(std::string_view key) const {
  const GgufValue* found = Find(key);
  if (!found) return std::optional<bool>();
  if (const auto* v = std::get_if<bool>(&found->value)) return std::optional<bool>(*v);
  return WrongType(culprit_, key, "bool", *found);
}

Result<std::optional<std::string_view>> GgufMetadata::GetString(std::string_view key) const {
  const GgufValue* found = Find(key);
  if (!found) return std::optional<std::string_view>();
  if (const auto* v = std::get_if<std::string_view>(&found->value)) {
    return std::optional<std::string_view>(*v);
  }
  return WrongType(culprit_, key, "string", *found);
}

Result<std::optional<std::vector<int64_t>>> GgufMetadata::GetInts(std::string_view key) const {
  using Out = std::optional<std::vector<int64_t>>;
  const GgufValue* found = Find(key);
  if (!found) return Out();
  if (const auto* array = std::get_if<GgufArray>(&found->value)) {
    if (const auto* list = std::get_if<std::vector<int64_t>>(&array->values)) return Out(*list);
    if (const auto* list = std::get_if<std::vector<uint64_t>>(&array->values)) {
      std::vector<int64_t> out;
      out.reserve(list->size());
      for (uint64_t v : *list) {
        if (v > uint64_t{INT64_MAX}) {
          return InvalidArgument(culprit_ + ": metadata '" + PrintableUtf8(key) + "': " +
                                 std::to_string(v) + " is above the largest signed 64-bit integer");
        }
        out.push_back(static_cast<int64_t>(v));
      }
      return Out(std::move(out));
    }
  }
  return WrongType(culprit_, key, "an array of integers", *found);
}

Result<std::optional<std::vector<double>>> GgufMetadata::GetFloats(std::string_view key) const {
  using Out = std::optional<std::vector<double>>;
  const GgufValue* found = Find(key);
  if (!found) return Out();
  if (const auto* array = std::get_if<GgufArray>(&found->value)) {
    if (const auto* list = std::get_if<std::vector<double>>(&array->values)) return Out(*list);
    if (const auto* list = std::get_if<std::vector<int64_t>>(&array->values)) {
      return Out(std::vector<double>(list->begin(), list->end()));
    }
    if (const auto* list = std::get_if<std::vector<uint64_t>>(&array->values)) {
      return Out(std::vector<double>(list->begin(), list->end()));
    }
  }
  return WrongType(culprit_, key, "an array of numbers", *found);
}

Result<std::optional<std::span<const std::string_view>>> GgufMetadata::GetStrings(
    std::string_view key) const {
  using Out = std::optional<std::span<const std::string_view>>;
  const GgufValue* found = Find(key);
  if (!found) return Out();
  if (const auto* array = std::get_if<GgufArray>(&found->value)) {
    if (const auto* list = std::get_if<std::vector<std::string_view>>(&array->values)) {
      return Out(std::span<const std::string_view>(*list));
    }
  }
  return WrongType(culprit_, key, "an array of strings", *found);
}

}  // namespace rill::io
