// Json: an immutable-by-convention JSON tree read with simdjson, and a writer.
//
// Reading is strict RFC 8259 (UTF-8 checked, no trailing commas, no comments, no NaN) and bounded:
// bytes, nesting depth, nodes. Duplicate object keys are an error by default, because two readers
// that pick different ones are an attack (threat A5/A8). Object members keep their file order.
//
// Typed reads never coerce: GetInt on "7" is an error that names the path.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "rill/status.h"

namespace rill {

struct JsonLimits {
  size_t max_bytes = 128u << 20;
  size_t max_depth = 64;
  // Values and object members together. A node takes up to 72 bytes here and as few as 2 in the
  // text, so this bounds memory where max_bytes alone would not.
  size_t max_nodes = 8u << 20;
  bool allow_duplicate_keys = false;
};

class Json {
 public:
  using Array = std::vector<Json>;
  using Member = std::pair<std::string, Json>;
  using Object = std::vector<Member>;  // file order

  Json() : value_(nullptr) {}
  Json(std::nullptr_t) : value_(nullptr) {}             // NOLINT: implicit
  Json(bool v) : value_(v) {}                           // NOLINT
  Json(int v) : value_(static_cast<int64_t>(v)) {}      // NOLINT
  Json(int64_t v) : value_(v) {}                        // NOLINT
  Json(uint64_t v) : value_(v) {}                       // NOLINT
  Json(double v) : value_(v) {}                         // NOLINT
  Json(const char* v) : value_(std::string(v)) {}       // NOLINT
  Json(std::string_view v) : value_(std::string(v)) {}  // NOLINT
  Json(std::string v) : value_(std::move(v)) {}         // NOLINT
  Json(Array v) : value_(std::move(v)) {}               // NOLINT
  Json(Object v) : value_(std::move(v)) {}              // NOLINT

  // `culprit` (a file name) starts every error message.
  static Result<Json> Parse(std::string_view text, std::string_view culprit,
                            const JsonLimits& limits = {});

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(value_); }
  bool is_bool() const { return std::holds_alternative<bool>(value_); }
  // A number written without fraction or exponent that fits int64 or uint64. A larger one is a
  // double.
  bool is_int() const {
    return std::holds_alternative<int64_t>(value_) || std::holds_alternative<uint64_t>(value_);
  }
  bool is_number() const { return is_int() || std::holds_alternative<double>(value_); }
  bool is_double() const { return std::holds_alternative<double>(value_); }
  bool is_string() const { return std::holds_alternative<std::string>(value_); }
  bool is_array() const { return std::holds_alternative<Array>(value_); }
  bool is_object() const { return std::holds_alternative<Object>(value_); }
  // "null", "bool", "integer", "number", "string", "array", "object".
  std::string_view TypeName() const;

  // Unchecked reads: the caller has tested the type (CHECK otherwise).
  bool bool_value() const;
  int64_t int_value() const;  // CHECKs that a uint64 fits; test with FitsInt64()
  bool FitsInt64() const;
  uint64_t uint_value() const;  // CHECKs that it is an integer >= 0
  double number_value() const;  // any number, rounded to double
  const std::string& string_value() const;
  const Array& array() const;
  const Object& object() const;
  Array& mutable_array();
  Object& mutable_object();

  // Member of an object, or nullptr when absent (or when this is not an object).
  const Json* Find(std::string_view key) const;
  // Sets or replaces a member; turns null into an object.
  void Set(std::string_view key, Json value);

  // Checked reads of an object's member. Absent or null -> `fallback`; wrong type -> error
  // "<key>: expected integer, got string".
  Result<int64_t> GetInt(std::string_view key, int64_t fallback) const;
  Result<double> GetDouble(std::string_view key, double fallback) const;
  Result<bool> GetBool(std::string_view key, bool fallback) const;
  Result<std::string> GetString(std::string_view key, std::string_view fallback) const;

  // Compact when indent < 0; otherwise pretty with `indent` spaces. Non-ASCII is written as UTF-8;
  // NaN and Inf are written as null (JSON has neither). Doubles round-trip: as few digits as
  // that needs, and always with a fraction or an exponent (1.0, not 1).
  std::string Dump(int indent = -1) const;

 private:
  std::variant<std::nullptr_t, bool, int64_t, uint64_t, double, std::string, Array, Object> value_;
};

// Appends `text` as a JSON string with quotes. Invalid UTF-8 bytes become U+FFFD.
void AppendJsonString(std::string& out, std::string_view text);

}  // namespace rill
