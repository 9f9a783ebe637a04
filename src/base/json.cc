#include "base/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <simdjson.h>

#include "base/check.h"
#include "base/utf8.h"

namespace rill {
namespace {

std::string Culprit(std::string_view culprit, std::string_view what) {
  std::string text(culprit);
  text += ": ";
  text += what;
  return text;
}

// By sorting: a hash set with a known hash function can be made quadratic from outside.
Status CheckUniqueKeys(const Json::Object& object, std::string_view culprit) {
  std::vector<std::string_view> keys;
  keys.reserve(object.size());
  for (const auto& [key, value] : object) keys.push_back(key);
  std::sort(keys.begin(), keys.end());
  const auto twice = std::adjacent_find(keys.begin(), keys.end());
  if (twice == keys.end()) return OkStatus();
  return InvalidArgument(
      Culprit(culprit, "duplicate JSON key \"" + PrintableUtf8(*twice, 64) + "\""));
}

bool IsNumberCharacter(char c) {
  return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

// simdjson has no integers beyond 64 bits, but real files do ("model_max_length":
// 1000000000000000019884624838656). Writes ".0" after each integer of 19 digits or more that does
// not fit, which makes it a double. Anything else stays as it is, errors included.
std::string WidenBigIntegers(std::string_view text) {
  constexpr size_t kSafeDigits = 18;
  std::string out;
  out.reserve(text.size() + 64);
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i;
    if (text[i] == '"') {
      for (++i; i < text.size() && text[i] != '"'; ++i) {
        if (text[i] == '\\') ++i;
      }
      i = std::min(i + 1, text.size());
      out += text.substr(begin, i - begin);
    } else if (IsNumberCharacter(text[i])) {
      while (i < text.size() && IsNumberCharacter(text[i])) ++i;
      const std::string_view token = text.substr(begin, i - begin);
      out += token;
      const bool integer = token.find_first_of(".eE+") == std::string_view::npos;
      if (!integer || token.size() <= kSafeDigits) continue;
      int64_t signed_value = 0;
      uint64_t unsigned_value = 0;
      const char* end = token.data() + token.size();
      const bool fits = std::from_chars(token.data(), end, signed_value).ec == std::errc() ||
                        std::from_chars(token.data(), end, unsigned_value).ec == std::errc();
      if (!fits) out += ".0";
    } else {
      out += text[i++];
    }
  }
  return out;
}

// Depth is bounded by simdjson's own max_depth, so the recursion is, too.
Status Convert(const simdjson::dom::element& element, const JsonLimits& limits,
               std::string_view culprit, size_t& nodes_left, Json& out) {
  if (nodes_left == 0) {
    return ResourceExhausted(
        Culprit(culprit, "JSON with more than " + std::to_string(limits.max_nodes) + " values"));
  }
  --nodes_left;
  using simdjson::dom::element_type;
  switch (element.type()) {
    case element_type::NULL_VALUE: out = nullptr; return OkStatus();
    case element_type::BOOL: out = element.get_bool().value_unsafe(); return OkStatus();
    case element_type::INT64: out = int64_t{element.get_int64().value_unsafe()}; return OkStatus();
    case element_type::UINT64:
      out = uint64_t{element.get_uint64().value_unsafe()};
      return OkStatus();
    case element_type::DOUBLE: out = element.get_double().value_unsafe(); return OkStatus();
    case element_type::STRING:
      out = std::string(element.get_string().value_unsafe());
      return OkStatus();
    case element_type::ARRAY: {
      Json::Array array;
      simdjson::dom::array children;
      if (element.get_array().get(children)) return Internal("json: array expected");
      for (auto child : children) {
        RILL_RETURN_IF_ERROR(Convert(child, limits, culprit, nodes_left, array.emplace_back()));
      }
      out = std::move(array);
      return OkStatus();
    }
    case element_type::OBJECT: {
      Json::Object object;
      simdjson::dom::object members;
      if (element.get_object().get(members)) return Internal("json: object expected");
      for (auto field : members) {
        object.emplace_back(std::string(field.key), Json());
        RILL_RETURN_IF_ERROR(
            Convert(field.value, limits, culprit, nodes_left, object.back().second));
      }
      if (!limits.allow_duplicate_keys) RILL_RETURN_IF_ERROR(CheckUniqueKeys(object, culprit));
      out = std::move(object);
      return OkStatus();
    }
  }
  return Internal("json: unknown element type");
}

void DumpTo(const Json& json, int indent, int level, std::string& out) {
  auto newline = [&](int at) {
    if (indent < 0) return;
    out += '\n';
    out.append(static_cast<size_t>(indent) * static_cast<size_t>(at), ' ');
  };
  if (json.is_null()) {
    out += "null";
  } else if (json.is_bool()) {
    out += json.bool_value() ? "true" : "false";
  } else if (json.is_int()) {
    char buffer[24];
    auto end = json.FitsInt64() ? std::to_chars(buffer, buffer + sizeof buffer, json.int_value())
                                : std::to_chars(buffer, buffer + sizeof buffer, json.uint_value());
    out.append(buffer, end.ptr);
  } else if (json.is_double()) {
    const double v = json.number_value();
    if (!std::isfinite(v)) {
      out += "null";
    } else {
      char buffer[40];
      auto end = std::to_chars(buffer, buffer + sizeof buffer, v);
      const std::string_view digits(buffer, static_cast<size_t>(end.ptr - buffer));
      out += digits;
      // Stays a double when it is read again: 1.0, not 1; -0.0, not 0.
      if (digits.find_first_of(".e") == std::string_view::npos) out += ".0";
    }
  } else if (json.is_string()) {
    AppendJsonString(out, json.string_value());
  } else if (json.is_array()) {
    out += '[';
    bool first = true;
    for (const Json& child : json.array()) {
      if (!first) out += ',';
      first = false;
      newline(level + 1);
      DumpTo(child, indent, level + 1, out);
    }
    if (!first) newline(level);
    out += ']';
  } else {
    out += '{';
    bool first = true;
    for (const auto& [key, value] : json.object()) {
      if (!first) out += ',';
      first = false;
      newline(level + 1);
      AppendJsonString(out, key);
      out += indent < 0 ? ":" : ": ";
      DumpTo(value, indent, level + 1, out);
    }
    if (!first) newline(level);
    out += '}';
  }
}

std::string WrongType(std::string_view key, std::string_view expected, const Json& got) {
  std::string text(key);
  text += ": expected ";
  text += expected;
  text += ", got ";
  text += got.TypeName();
  return text;
}

}  // namespace

Result<Json> Json::Parse(std::string_view text, std::string_view culprit,
                         const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return ResourceExhausted(Culprit(culprit, "JSON of " + std::to_string(text.size()) +
                                                  " bytes, limit " +
                                                  std::to_string(limits.max_bytes)));
  }
  if (text.starts_with("\xEF\xBB\xBF")) {
    return InvalidArgument(Culprit(culprit, "JSON starts with a byte order mark"));
  }
  simdjson::dom::parser parser(limits.max_bytes);
  if (auto error = parser.allocate(text.size() + 1, limits.max_depth)) {
    return ResourceExhausted(Culprit(culprit, simdjson::error_message(error)));
  }
  simdjson::dom::element root;
  auto error = parser.parse(text.data(), text.size()).get(root);
  if (error == simdjson::NUMBER_ERROR) {
    error = parser.parse(WidenBigIntegers(text)).get(root);
  }
  if (error) {
    return InvalidArgument(
        Culprit(culprit, std::string("not valid JSON: ") + simdjson::error_message(error)));
  }
  Json out;
  size_t nodes_left = limits.max_nodes;
  RILL_RETURN_IF_ERROR(Convert(root, limits, culprit, nodes_left, out));
  return out;
}

std::string_view Json::TypeName() const {
  if (is_null()) return "null";
  if (is_bool()) return "bool";
  if (is_int()) return "integer";
  if (is_double()) return "number";
  if (is_string()) return "string";
  if (is_array()) return "array";
  return "object";
}

bool Json::bool_value() const {
  CHECK(is_bool()) << TypeName();
  return std::get<bool>(value_);
}

bool Json::FitsInt64() const {
  if (const auto* u = std::get_if<uint64_t>(&value_)) return *u <= uint64_t{INT64_MAX};
  return std::holds_alternative<int64_t>(value_);
}

int64_t Json::int_value() const {
  CHECK(FitsInt64()) << TypeName();
  if (const auto* u = std::get_if<uint64_t>(&value_)) return static_cast<int64_t>(*u);
  return std::get<int64_t>(value_);
}

uint64_t Json::uint_value() const {
  if (const auto* i = std::get_if<int64_t>(&value_)) {
    CHECK(*i >= 0) << *i;
    return static_cast<uint64_t>(*i);
  }
  CHECK(is_int()) << TypeName();
  return std::get<uint64_t>(value_);
}

double Json::number_value() const {
  CHECK(is_number()) << TypeName();
  if (const auto* u = std::get_if<uint64_t>(&value_)) return static_cast<double>(*u);
  if (const auto* i = std::get_if<int64_t>(&value_)) return static_cast<double>(*i);
  return std::get<double>(value_);
}

const std::string& Json::string_value() const {
  CHECK(is_string()) << TypeName();
  return std::get<std::string>(value_);
}
const Json::Array& Json::array() const {
  CHECK(is_array()) << TypeName();
  return std::get<Array>(value_);
}
const Json::Object& Json::object() const {
  CHECK(is_object()) << TypeName();
  return std::get<Object>(value_);
}
Json::Array& Json::mutable_array() {
  CHECK(is_array()) << TypeName();
  return std::get<Array>(value_);
}
Json::Object& Json::mutable_object() {
  CHECK(is_object()) << TypeName();
  return std::get<Object>(value_);
}

const Json* Json::Find(std::string_view key) const {
  const auto* members = std::get_if<Object>(&value_);
  if (!members) return nullptr;
  for (const auto& [name, value] : *members) {
    if (name == key) return &value;
  }
  return nullptr;
}

void Json::Set(std::string_view key, Json value) {
  if (is_null()) value_ = Object{};
  for (auto& [name, old] : mutable_object()) {
    if (name == key) {
      old = std::move(value);
      return;
    }
  }
  mutable_object().emplace_back(std::string(key), std::move(value));
}

Result<int64_t> Json::GetInt(std::string_view key, int64_t fallback) const {
  const Json* member = Find(key);
  if (!member || member->is_null()) return fallback;
  if (!member->FitsInt64()) return InvalidArgument(WrongType(key, "integer", *member));
  return member->int_value();
}

Result<double> Json::GetDouble(std::string_view key, double fallback) const {
  const Json* member = Find(key);
  if (!member || member->is_null()) return fallback;
  if (!member->is_number()) return InvalidArgument(WrongType(key, "number", *member));
  return member->number_value();
}

Result<bool> Json::GetBool(std::string_view key, bool fallback) const {
  const Json* member = Find(key);
  if (!member || member->is_null()) return fallback;
  if (!member->is_bool()) return InvalidArgument(WrongType(key, "bool", *member));
  return member->bool_value();
}

Result<std::string> Json::GetString(std::string_view key, std::string_view fallback) const {
  const Json* member = Find(key);
  if (!member || member->is_null()) return std::string(fallback);
  if (!member->is_string()) return InvalidArgument(WrongType(key, "string", *member));
  return member->string_value();
}

std::string Json::Dump(int indent) const {
  std::string out;
  DumpTo(*this, indent, 0, out);
  return out;
}

void AppendJsonString(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  size_t i = 0;
  while (i < text.size()) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x80) {
      switch (c) {
        case '"': out += "\\\""; break;
        case '\\': out += "\\\\"; break;
        case '\n': out += "\\n"; break;
        case '\r': out += "\\r"; break;
        case '\t': out += "\\t"; break;
        case '\b': out += "\\b"; break;
        case '\f': out += "\\f"; break;
        default:
          if (c < 0x20 || c == 0x7F) {
            out += "\\u00";
            out += kHex[c >> 4];
            out += kHex[c & 15];
          } else {
            out += static_cast<char>(c);
          }
      }
      ++i;
      continue;
    }
    const DecodedRune rune = DecodeUtf8(text.substr(i));
    if (rune.valid) {
      out.append(text.substr(i, rune.size));
    } else {
      out += "\xEF\xBF\xBD";
    }
    i += rune.size;
  }
  out += '"';
}

}  // namespace rill
