#include "server/openai/field_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/utf8.h"

namespace rill::server::openai {

std::optional<int64_t> AsInteger(const Json& value) {
  if (value.is_int()) {
    if (!value.FitsInt64()) return std::nullopt;
    return value.int_value();
  }
  if (!value.is_double()) return std::nullopt;
  const double number = value.number_value();
  // 2^53: beyond it a double no longer says which integer was meant.
  if (!(std::fabs(number) <= 9007199254740992.0) || number != std::floor(number)) {
    return std::nullopt;
  }
  return static_cast<int64_t>(number);
}

std::string_view WordForType(const Json& value) {
  if (value.is_null()) return "null";
  if (value.is_bool()) return "a boolean";
  if (value.is_int()) return "an integer";
  if (value.is_number()) return "a decimal";
  if (value.is_string()) return "a string";
  if (value.is_array()) return "an array";
  return "an object";
}

Json JsonSchema(std::string_view text) {
  Result<Json> json = Json::Parse(text, "schema");
  CHECK(json.ok()) << json.status().message() << ": " << text;
  return std::move(*json);
}

namespace {

const Json kNoFields{Json::Object{}};

// Of a field whose other values are refused.
Json Unsupported(std::string_view schema, std::string_view why) {
  Json out = JsonSchema(schema);
  out.Set("description", "Not supported: " + std::string(why));
  return out;
}

// `schema`, or null.
Json OrNull(Json schema) {
  const Json* type = schema.Find("type");
  if (type && type->is_string() && !schema.Find("enum")) {
    schema.Set("type", Json::Array{*type, "null"});
    return schema;
  }
  Json either;
  either.Set("anyOf", Json::Array{std::move(schema), JsonSchema(R"({"type":"null"})")});
  return either;
}

}  // namespace

bool FieldSchema::Has(std::string_view key) const {
  return std::any_of(properties_.begin(), properties_.end(),
                     [&](const Json::Member& member) { return member.first == key; });
}

void FieldSchema::Add(std::string_view key, Json schema, bool required) {
  auto at = std::find_if(properties_.begin(), properties_.end(),
                         [&](const Json::Member& member) { return member.first == key; });
  if (at == properties_.end()) at = properties_.insert(at, {std::string(key), Json()});
  at->second = required ? std::move(schema) : OrNull(std::move(schema));
  if (required) required_.emplace_back(key);
}

void FieldSchema::AddPattern(std::string_view pattern, Json schema) {
  patterns_.emplace_back(pattern, OrNull(std::move(schema)));
}

void FieldSchema::AddUndescribed(std::string_view key) {
  undescribed_.emplace_back(key);
}

Json FieldSchema::ToJson() const {
  Json out;
  out.Set("type", "object");
  out.Set("properties", properties_);
  if (!patterns_.empty()) out.Set("patternProperties", patterns_);
  if (!required_.empty()) out.Set("required", Json::Array(required_.begin(), required_.end()));
  return out;
}

FieldReader::FieldReader(FieldSchema& schema) : object_(kNoFields), schema_(&schema) {}

void FieldReader::Describe(std::string_view key, std::string_view schema, bool required) {
  if (schema_) schema_->Add(key, JsonSchema(schema), required);
}

const Json* FieldReader::Find(std::string_view key) const {
  if (schema_ && !schema_->Has(key)) schema_->AddUndescribed(key);
  if (error_) return nullptr;
  const Json* value = object_.Find(key);
  return value && !value->is_null() ? value : nullptr;
}

void FieldReader::Fail(ApiError error) {
  if (!error_ && !schema_) error_ = std::move(error);
}

void FieldReader::FailType(std::string_view param, std::string_view expected, const Json& got) {
  Fail(BadRequest("invalid_type", std::string(param),
                  fmt::format("Invalid type for '{}': expected {}, but got {} instead.", param,
                              expected, WordForType(got))));
}

void FieldReader::FailValue(std::string_view key, std::string message) {
  std::string param = ParamName(key);
  std::string text = fmt::format("Invalid value for '{}': {}", param, message);
  Fail(InvalidValue(std::move(param), std::move(text)));
}

bool FieldReader::Int(std::string_view key, int64_t low, int64_t high, int64_t& out) {
  if (schema_) {
    Describe(key, fmt::format(R"({{"type":"integer","minimum":{},"maximum":{}}})", low, high));
  }
  const Json* value = Find(key);
  if (!value) return false;
  if (!value->is_number()) {
    FailType(ParamName(key), "an integer", *value);
    return false;
  }
  const std::optional<int64_t> number = AsInteger(*value);
  if (!number) {
    // Beyond 64 bits a number was rounded, perhaps to one that is allowed.
    const double rounded = value->number_value();
    FailValue(key, fmt::format("expected an integer in [{}, {}], but got {} instead.", low, high,
                               std::abs(rounded) < 9e15 ? value->Dump()
                                                        : fmt::format("about {:.6g}", rounded)));
    return false;
  }
  if (*number < low || *number > high) {
    FailValue(key, fmt::format("expected an integer in [{}, {}], but got {} instead.", low, high,
                               *number));
    return false;
  }
  out = *number;
  return true;
}

bool FieldReader::Int(std::string_view key, int64_t low, int64_t high, int32_t& out) {
  int64_t wide = 0;
  if (!Int(key, low, high, wide)) return false;
  out = static_cast<int32_t>(wide);
  return true;
}

bool FieldReader::Number(std::string_view key, double low, double high, float& out) {
  if (schema_) {
    Describe(key, fmt::format(R"({{"type":"number","minimum":{},"maximum":{}}})", low, high));
  }
  const Json* value = Find(key);
  if (!value) return false;
  if (!value->is_number()) {
    FailType(ParamName(key), "a decimal", *value);
    return false;
  }
  const double number = value->number_value();
  if (!(number >= low && number <= high)) {
    FailValue(key, fmt::format("expected a number in [{}, {}], but got {} instead.", low, high,
                               value->Dump()));
    return false;
  }
  out = static_cast<float>(number);
  return true;
}

bool FieldReader::Bool(std::string_view key, bool& out) {
  Describe(key, R"({"type":"boolean"})");
  const Json* value = Find(key);
  if (!value) return false;
  if (!value->is_bool()) {
    FailType(ParamName(key), "a boolean", *value);
    return false;
  }
  out = value->bool_value();
  return true;
}

bool FieldReader::String(std::string_view key, size_t max_bytes, std::string& out) {
  // The schema counts characters: no text within the limit has more.
  if (schema_) Describe(key, fmt::format(R"({{"type":"string","maxLength":{}}})", max_bytes));
  const Json* value = Find(key);
  if (!value) return false;
  if (!value->is_string()) {
    FailType(ParamName(key), "a string", *value);
    return false;
  }
  if (value->string_value().size() > max_bytes) {
    FailValue(key, fmt::format("expected at most {} bytes, but got {}.", max_bytes,
                               value->string_value().size()));
    return false;
  }
  out = value->string_value();
  return true;
}

void FieldReader::RefuseUnless(std::string_view key, std::string_view why,
                               std::string_view harmless) {
  if (schema_) {
    schema_->Add(key, Unsupported(fmt::format(R"({{"enum":[{}]}})", harmless), why));
  }
  const Json* value = Find(key);
  if (!value) return;
  // Only a short value can be the harmless one: an array of a million numbers is not printed.
  const bool is_small = !(value->is_array() && value->array().size() > 4) &&
                        !(value->is_object() && value->object().size() > 4) &&
                        !(value->is_string() && value->string_value().size() > 64);
  if (is_small && value->Dump() == harmless) return;
  Refuse(key, why);
}

void FieldReader::RefuseOutside(std::string_view key, std::string_view why, double low,
                                double high) {
  if (schema_) {
    std::string schema = R"({"type":"number")";
    if (std::isfinite(low)) schema += fmt::format(R"(,"minimum":{})", low);
    if (std::isfinite(high)) schema += fmt::format(R"(,"maximum":{})", high);
    schema_->Add(key, Unsupported(schema + "}", why));
  }
  const Json* value = Find(key);
  if (!value) return;
  if (value->is_number() && value->number_value() >= low && value->number_value() <= high) return;
  Refuse(key, why);
}

void FieldReader::RefusePrefix(std::string_view prefix, std::string_view why) {
  if (schema_) {
    schema_->AddPattern("^" + std::string(prefix), Unsupported(R"({"enum":[null]})", why));
  }
  if (error_) return;
  for (const auto& [key, value] : object_.object()) {
    if (key.starts_with(prefix) && !value.is_null()) return Refuse(PrintableUtf8(key, 64), why);
  }
}

void FieldReader::Refuse(std::string_view key, std::string_view why) {
  const std::string param = ParamName(key);
  Fail(UnsupportedParameter(param, fmt::format("Unsupported parameter: '{}': {}", param, why)));
}

}  // namespace rill::server::openai
