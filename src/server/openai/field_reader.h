// FieldReader: typed reads of a request's JSON object, with the error that OpenAI's clients expect.
//
// The first error is kept and every later read does nothing, so a parser reads all fields in a row
// and looks once at the end. Absent and null leave the output as it is (the default).
// Coercion: a number written 16.0 is taken where an integer is expected; nothing else is converted.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "rill/json.h"
#include "server/openai/api_error.h"

namespace rill::server::openai {

class FieldReader {
 public:
  // `prefix` stands in front of the names in errors ("stream_options."). `object` must be an
  // object and outlive the reader.
  explicit FieldReader(const Json& object, std::string prefix = {})
      : object_(object), prefix_(std::move(prefix)) {}

  bool ok() const { return !error_; }
  const std::optional<ApiError>& error() const { return error_; }

  // The member when present and not null. Does nothing after an error.
  const Json* Find(std::string_view key) const;
  bool Has(std::string_view key) const { return Find(key) != nullptr; }

  // Each: true when the field was there and good.
  bool Int(std::string_view key, int64_t low, int64_t high, int64_t& out);
  bool Int(std::string_view key, int64_t low, int64_t high, int32_t& out);
  bool Number(std::string_view key, double low, double high, float& out);
  bool Bool(std::string_view key, bool& out);
  bool String(std::string_view key, size_t max_bytes, std::string& out);

  // Present, not null, and other than the JSON value `harmless`: 400 unsupported_parameter.
  void RefuseUnless(std::string_view key, std::string_view why, std::string_view harmless = "null");

  void Fail(ApiError error);
  void FailType(std::string_view param, std::string_view expected, const Json& got);
  void FailValue(std::string_view key, std::string message);
  std::string ParamName(std::string_view key) const { return prefix_ + std::string(key); }

 private:
  const Json& object_;
  const std::string prefix_;
  std::optional<ApiError> error_;
};

// A JSON number as an integer: an integer, or a double without a fraction that fits. nullopt
// otherwise.
std::optional<int64_t> AsInteger(const Json& value);
// "an integer", "a string", … for messages.
std::string_view WordForType(const Json& value);

}  // namespace rill::server::openai
