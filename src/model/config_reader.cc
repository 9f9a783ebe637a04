#include "model/config_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace rill::model {
namespace {

std::string Join(HfConfig::Keys keys) {
  std::string out;
  for (std::string_view key : keys) out += (out.empty() ? "" : " or ") + std::string(key);
  return out;
}

}  // namespace

Result<ops::ActivationKind> ParseActivation(std::string_view name) {
  using Kind = ops::ActivationKind;
  static constexpr std::pair<std::string_view, Kind> kNames[] = {
      {"silu", Kind::kSilu},
      {"swish", Kind::kSilu},
      {"gelu", Kind::kGelu},
      {"gelu_python", Kind::kGelu},
      {"gelu_new", Kind::kGeluTanh},
      {"gelu_fast", Kind::kGeluTanh},
      {"gelu_pytorch_tanh", Kind::kGeluTanh},
      {"gelu_tanh", Kind::kGeluTanh},
      {"quick_gelu", Kind::kQuickGelu},
      {"relu", Kind::kRelu},
      {"relu2", Kind::kRelu2},
      {"linear", Kind::kIdentity},
  };
  std::string known;
  for (const auto& [text, kind] : kNames) {
    if (text == name) return kind;
    known += (known.empty() ? "" : ", ") + std::string(text);
  }
  return Unsupported(fmt::format("activation '{}' is not known; known are {}", name, known));
}

const Json* HfConfig::Find(Keys keys) const {
  for (std::string_view key : keys) {
    const Json* value = json_.Find(key);
    if (value != nullptr && !value->is_null()) return value;
  }
  return nullptr;
}

void HfConfig::FailKey(std::string_view key, std::string_view expected, const Json* got) {
  std::string found = got == nullptr ? "nothing" : got->Dump();
  if (found.size() > 60) found = std::string(got->TypeName());
  Fail(InvalidArgument(fmt::format("{}: {}: expected {}, got {}", culprit_, key, expected, found)));
}

int32_t HfConfig::Size(Keys keys) {
  if (!Has(keys)) {
    FailKey(Join(keys), "an integer", nullptr);
    return 1;
  }
  return Size(keys, 1);
}

int32_t HfConfig::Size(Keys keys, int32_t fallback) {
  const Json* value = Find(keys);
  if (value == nullptr) return fallback;
  if (!value->is_int() || !value->FitsInt64() || value->int_value() < 1 ||
      value->int_value() > kMaxSize) {
    FailKey(Join(keys), fmt::format("an integer in [1, {}]", kMaxSize), value);
    return 1;
  }
  return static_cast<int32_t>(value->int_value());
}

int32_t HfConfig::Int(Keys keys, int32_t fallback) {
  const Json* value = Find(keys);
  if (value == nullptr) return fallback;
  if (!value->is_int() || !value->FitsInt64() || value->int_value() < 0 ||
      value->int_value() > kMaxSize) {
    FailKey(Join(keys), fmt::format("an integer in [0, {}]", kMaxSize), value);
    return fallback;
  }
  return static_cast<int32_t>(value->int_value());
}

double HfConfig::Number(Keys keys, double fallback) {
  const Json* value = Find(keys);
  if (value == nullptr) return fallback;
  if (!value->is_number() || !std::isfinite(value->number_value())) {
    FailKey(Join(keys), "a finite number", value);
    return fallback;
  }
  return value->number_value();
}

double HfConfig::Number(Keys keys) {
  if (!Has(keys)) FailKey(Join(keys), "a number", nullptr);
  return Number(keys, 1.0);
}

bool HfConfig::IsNull(Keys keys) const {
  for (std::string_view key : keys) {
    if (const Json* value = json_.Find(key)) return value->is_null();
  }
  return false;
}

int32_t HfConfig::OptionalInt(Keys keys, int32_t absent) {
  return IsNull(keys) ? 0 : Int(keys, absent);
}

double HfConfig::OptionalNumber(Keys keys, double absent) {
  return IsNull(keys) ? 0.0 : Number(keys, absent);
}

bool HfConfig::Bool(Keys keys, bool fallback) {
  const Json* value = Find(keys);
  if (value == nullptr) return fallback && !IsNull(keys);
  if (!value->is_bool()) {
    FailKey(Join(keys), "true or false", value);
    return fallback;
  }
  return value->bool_value();
}

std::string HfConfig::Text(Keys keys, std::string_view fallback) {
  const Json* value = Find(keys);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) {
    FailKey(Join(keys), "a string", value);
    return std::string(fallback);
  }
  return value->string_value();
}

std::vector<double> HfConfig::Numbers(Keys keys) {
  const Json* value = Find(keys);
  std::vector<double> out;
  if (value == nullptr) return out;
  if (!value->is_array()) {
    FailKey(Join(keys), "an array of numbers", value);
    return out;
  }
  for (const Json& item : value->array()) {
    if (!item.is_number() || !std::isfinite(item.number_value())) {
      FailKey(Join(keys), "an array of finite numbers", &item);
      return {};
    }
    out.push_back(item.number_value());
  }
  return out;
}

ops::ActivationKind HfConfig::Activation(Keys keys, std::string_view fallback) {
  Result<ops::ActivationKind> kind = ParseActivation(Text(keys, fallback));
  if (kind.ok()) return *kind;
  Fail(kind.status().WithPrefix(culprit_ + ": " + Join(keys)));
  return ops::ActivationKind::kSilu;
}

template <typename T>
std::optional<T> GgufConfig::Take(Result<std::optional<T>> result) {
  if (result.ok()) return *result;
  Fail(result.status());
  return std::nullopt;
}

bool GgufConfig::Has(std::string_view key) const {
  return source_.gguf->Has(Full(key));
}

int32_t GgufConfig::Bounded(std::string_view key, std::optional<int64_t> value, int64_t low,
                            int32_t fallback) {
  if (!value) return fallback;
  if (*value < low || *value > kMaxSize) {
    Fail(InvalidArgument(fmt::format("{}: {}: expected an integer in [{}, {}], got {}",
                                     source_.path, Full(key), low, kMaxSize, *value)));
    return fallback;
  }
  return static_cast<int32_t>(*value);
}

int32_t GgufConfig::Size(std::string_view key) {
  if (!Has(key)) {
    Fail(InvalidArgument(
        fmt::format("{}: {}: expected an integer, got nothing", source_.path, Full(key))));
    return 1;
  }
  return Size(key, 1);
}

int32_t GgufConfig::Size(std::string_view key, int32_t fallback) {
  return Bounded(key, Take(source_.gguf->GetInt(Full(key))), 1, fallback);
}

int32_t GgufConfig::Int(std::string_view key, int32_t fallback) {
  return Bounded(key, Take(source_.gguf->GetInt(Full(key))), 0, fallback);
}

double GgufConfig::Number(std::string_view key, double fallback) {
  const std::optional<double> value = Take(source_.gguf->GetFloat(Full(key)));
  if (!value) return fallback;
  if (!std::isfinite(*value)) {
    Fail(InvalidArgument(
        fmt::format("{}: {}: expected a finite number, got {}", source_.path, Full(key), *value)));
    return fallback;
  }
  return *value;
}

double GgufConfig::Number(std::string_view key) {
  if (!Has(key)) {
    Fail(InvalidArgument(
        fmt::format("{}: {}: expected a number, got nothing", source_.path, Full(key))));
  }
  return Number(key, 1.0);
}

bool GgufConfig::Bool(std::string_view key, bool fallback) {
  return Take(source_.gguf->GetBool(Full(key))).value_or(fallback);
}

std::string GgufConfig::Text(std::string_view key, std::string_view fallback) {
  return std::string(Take(source_.gguf->GetString(Full(key))).value_or(fallback));
}

std::vector<int64_t> GgufConfig::PerLayer(std::string_view key, int32_t num_layers,
                                          int64_t fallback) {
  std::vector<int64_t> out(static_cast<size_t>(num_layers), fallback);
  const io::GgufValue* value = source_.gguf->Find(Full(key));
  if (value == nullptr) return out;
  if (value->type != io::GgufType::kArray) {
    std::fill(out.begin(), out.end(), Int(key, 0));
    return out;
  }
  const auto values = Take(source_.gguf->GetInts(Full(key)));
  if (!values || values->size() != out.size()) {
    Fail(InvalidArgument(fmt::format("{}: {}: expected {} numbers, got {}", source_.path, Full(key),
                                     num_layers, values ? values->size() : 0)));
    return out;
  }
  std::copy_n(values->begin(), out.size(), out.begin());
  return out;
}

}  // namespace rill::model
