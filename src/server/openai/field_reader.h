// FieldReader: typed reads of a request's JSON object, with the error that OpenAI's clients expect.
//
// The first error is kept and every later read does nothing, so a parser reads all fields in a row
// and looks once at the end. Absent and null leave the output as it is (the default).
// Coercion: a number written 16.0 is taken where an integer is expected; nothing else is converted.
//
// The same reads also write the published schema (SchemaOf): a parser run with a FieldSchema notes
// what it would take instead of reading it, so that document and parser cannot drift.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rill/json.h"
#include "server/openai/api_error.h"

namespace rill::server::openai {

// A JSON Schema that stands in the source; anything but JSON is a defect.
Json JsonSchema(std::string_view text);

// A JSON Schema of type object, field by field.
class FieldSchema {
 public:
  // `schema`: of a value; null is always taken too, unless the field is required.
  void Add(std::string_view key, Json schema, bool required = false);
  // The same of every key that matches the regular expression.
  void AddPattern(std::string_view pattern, Json schema);
  bool Has(std::string_view key) const;
  // A field that the parser looked for without saying what it takes: a defect of the parser.
  void AddUndescribed(std::string_view key);
  const std::vector<std::string>& undescribed() const { return undescribed_; }
  Json ToJson() const;

 private:
  Json::Object properties_, patterns_;
  std::vector<std::string> required_, undescribed_;
};

class FieldReader {
 public:
  // `prefix` stands in front of the names in errors ("stream_options."). `object` must be an
  // object and outlive the reader.
  explicit FieldReader(const Json& object, std::string prefix = {})
      : object_(object), prefix_(std::move(prefix)) {}
  // Notes what is asked for in `schema`; finds nothing and never fails.
  explicit FieldReader(FieldSchema& schema);

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

  // A member object with fields of its own: read(FieldReader&). True when it was there and good.
  template <class Read>
  bool Object(std::string_view key, Read read);

  // What the member is that the caller reads by Find, as JSON Schema. Only for a FieldSchema.
  void Describe(std::string_view key, std::string_view schema, bool required = false);
  // `make` gives the text; called for a FieldSchema only.
  template <std::invocable Make>
  void Describe(std::string_view key, Make make, bool required = false) {
    if (schema_) Describe(key, std::string_view(make()), required);
  }

  // Present, not null, and other than the JSON value `harmless`: 400 unsupported_parameter.
  void RefuseUnless(std::string_view key, std::string_view why, std::string_view harmless = "null");
  // The same where every number in [low, high] is harmless. Either may be infinite.
  void RefuseOutside(std::string_view key, std::string_view why, double low, double high);
  // Every member whose name begins with `prefix` and that is not null. `prefix`: [a-z_] only.
  void RefusePrefix(std::string_view prefix, std::string_view why);

  void Fail(ApiError error);
  void FailType(std::string_view param, std::string_view expected, const Json& got);
  void FailValue(std::string_view key, std::string message);
  std::string ParamName(std::string_view key) const { return prefix_ + std::string(key); }

 private:
  void Refuse(std::string_view key, std::string_view why);

  const Json& object_;
  const std::string prefix_;
  FieldSchema* const schema_ = nullptr;
  std::optional<ApiError> error_;
};

template <class Read>
bool FieldReader::Object(std::string_view key, Read read) {
  if (schema_) {
    FieldSchema inner;
    FieldReader reader(inner);
    read(reader);
    schema_->Add(key, inner.ToJson());
    for (const std::string& name : inner.undescribed()) {
      schema_->AddUndescribed(std::string(key) + "." + name);
    }
    return false;
  }
  const Json* value = Find(key);
  if (!value) return false;
  if (!value->is_object()) {
    FailType(ParamName(key), "an object", *value);
    return false;
  }
  FieldReader reader(*value, ParamName(key) + ".");
  read(reader);
  if (reader.error()) Fail(*reader.error());
  return ok();
}

// The schema of what read(FieldReader&) takes.
template <class Read>
FieldSchema SchemaOf(Read read) {
  FieldSchema schema;
  FieldReader reader(schema);
  read(reader);
  return schema;
}

// A JSON number as an integer: an integer, or a double without a fraction that fits. nullopt
// otherwise.
std::optional<int64_t> AsInteger(const Json& value);
// "an integer", "a string", … for messages.
std::string_view WordForType(const Json& value);

}  // namespace rill::server::openai
