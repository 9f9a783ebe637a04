#include "model/quant_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <initializer_list>
#include <set>
#include <span>
#include <string_view>

#include "base/utf8.h"
#include "model/config_reader.h"

namespace rill::model {
namespace {

std::string LowerCase(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text;
}

// The first tensor whose name ends in one of `ends`, or an empty text.
std::string_view FirstTensor(const io::TensorDirectory& tensors,
                             std::initializer_list<std::string_view> ends) {
  for (const io::TensorEntry& entry : tensors.entries()) {
    for (std::string_view end : ends) {
      if (std::string_view(entry.name).ends_with(end)) return entry.name;
    }
  }
  return {};
}

// What makes HasPackedTensors true.
std::string_view FirstQweight(const io::TensorDirectory& tensors) {
  return FirstTensor(tensors, {".qweight"});
}

// The first tensor that holds part of a quantised matrix, by the names that quantisers give, or an
// empty text.
std::string_view FirstPackedTensor(const io::TensorDirectory& tensors) {
  return FirstTensor(tensors, {".qweight", ".weight_packed", ".weight_scale", ".weight_scale_inv",
                               ".weight.absmax", ".weight.quant_map"});
}

// How each error ends.
std::string OfTensor(std::string_view tensor) {
  const std::string named =
      tensor.empty() ? "" : fmt::format(" (tensor '{}')", PrintableUtf8(tensor, 200));
  return fmt::format("{}; supported: {}", named, kSupportedQuantConfigs);
}

// Reads keys of one object; the first problem stays. `tensor`: one that the object is about, which
// errors name too; may be empty.
class Reader {
 public:
  Reader(const Json& json, std::string culprit, std::string_view tensor)
      : json_(json), culprit_(std::move(culprit)), tensor_(tensor) {}

  const Json* Find(std::string_view key, std::string_view other = {}) const {
    const Json* value = json_.Find(key);
    if ((value == nullptr || value->is_null()) && !other.empty()) value = json_.Find(other);
    return value == nullptr || value->is_null() ? nullptr : value;
  }
  int64_t Int(std::string_view key, std::string_view other, int64_t fallback) {
    const Json* value = Find(key, other);
    if (value == nullptr) return fallback;
    if (!value->FitsInt64()) {
      Invalid(key, "an integer", *value);
      return fallback;
    }
    return value->int_value();
  }
  bool Bool(std::string_view key, bool fallback) {
    const Json* value = Find(key);
    if (value == nullptr) return fallback;
    if (!value->is_bool()) {
      Invalid(key, "true or false", *value);
      return fallback;
    }
    return value->bool_value();
  }
  std::string Text(std::string_view key, std::string_view other = {}) {
    const Json* value = Find(key, other);
    if (value == nullptr) return {};
    if (!value->is_string()) {
      Invalid(key, "a string", *value);
      return {};
    }
    return LowerCase(value->string_value());
  }

  void Invalid(std::string_view key, std::string_view expected, const Json& got) {
    Fail(InvalidArgument(fmt::format("{}.{}: expected {}, got {}{}", culprit_, key, expected,
                                     Shown(got), OfTensor(tensor_))));
  }
  void NotSupported(std::string_view key, const Json& got) {
    Fail(Unsupported(
        fmt::format("{}.{}: {} is not supported{}", culprit_, key, Shown(got), OfTensor(tensor_))));
  }
  void Fail(Status status) {
    if (status_.ok()) status_ = std::move(status);
  }
  const Status& status() const { return status_; }
  const std::string& culprit() const { return culprit_; }
  std::string_view tensor() const { return tensor_; }

 private:
  static std::string Shown(const Json& value) {
    return PrintableUtf8(
        value.is_object() || value.is_array() ? std::string(value.TypeName()) : value.Dump(), 80);
  }

  const Json& json_;
  std::string culprit_;
  std::string_view tensor_;
  Status status_;
};

void ReadGroupSize(Reader& in, std::string_view other, int64_t fallback, QuantConfig& out) {
  out.group_size = in.Int("group_size", other, fallback);
  if (out.group_size == -1) return;
  if (out.group_size < 1 || out.group_size > kMaxSize) {
    in.Invalid("group_size", fmt::format("-1 or a multiple of 32 up to {}", kMaxSize),
               Json(out.group_size));
  } else if (out.group_size % 32 != 0) {
    in.NotSupported("group_size", Json(out.group_size));
  }
}

// The group sizes of the rules of "dynamic". Which rule a module has is a matter of regular
// expressions in Python's dialect; the shapes tell it without them.
void ReadRules(Reader& in, const Json& rules, QuantConfig& out) {
  out.from_shapes = !rules.object().empty();
  std::set<int64_t> sizes;
  for (const auto& [pattern, rule] : rules.object()) {
    if (!rule.is_object()) continue;
    Reader fields(rule, fmt::format("{}.dynamic[\"{}\"]", in.culprit(), PrintableUtf8(pattern, 80)),
                  in.tensor());
    if (fields.Find("group_size") == nullptr) continue;
    const int64_t size = fields.Int("group_size", {}, -1);
    if (size != -1 && (size < 1 || size > kMaxSize)) {
      fields.Invalid("group_size", fmt::format("-1 or a multiple of 32 up to {}", kMaxSize),
                     Json(size));
    }
    in.Fail(fields.status());
    if (sizes.insert(size).second) out.rule_group_sizes.push_back(size);
  }
  if (sizes.size() > kMaxRuleGroupSizes) {
    in.Invalid("dynamic", fmt::format("at most {} group sizes", kMaxRuleGroupSizes),
               Json(static_cast<int64_t>(sizes.size())));
  }
}

// "meta": {"quantizer": ["optimum:1.24.0", "gptqmodel:2.2.0"]}; before GPTQModel 1.4 one string.
// Development versions have odd minor numbers, and 6.1 had both ways.
quant::Int3Zeros ReadInt3Zeros(const Reader& in, bool is_symmetric) {
  // Zero points that are not all 4 contradict "sym": then it is not known who wrote them.
  const quant::Int3Zeros other =
      is_symmetric ? quant::Int3Zeros::kUnknown : quant::Int3Zeros::kFields;
  const Json* meta = in.Find("meta");
  const Json* quantizer = meta == nullptr ? nullptr : meta->Find("quantizer");
  if (quantizer == nullptr) return other;
  const std::span<const Json> names =
      quantizer->is_array() ? std::span<const Json>(quantizer->array()) : std::span(quantizer, 1);
  for (const Json& name : names) {
    constexpr std::string_view kProducer = "gptqmodel";
    if (!name.is_string()) continue;
    const std::string text = LowerCase(name.string_value());
    if (!text.starts_with(kProducer)) continue;
    int major = 0, minor = 0;
    const char* at = text.data() + kProducer.size();
    const char* const end = text.data() + text.size();
    // Another program's name goes on; a name without a version is of nobody knows which.
    if (at != end && (std::isalnum(static_cast<unsigned char>(*at)) || *at == '_' || *at == '-')) {
      continue;
    }
    if (at == end || *at != ':') return quant::Int3Zeros::kUnknown;
    auto read = std::from_chars(at + 1, end, major);
    if (read.ec != std::errc() || read.ptr == end || *read.ptr != '.') {
      return quant::Int3Zeros::kUnknown;
    }
    read = std::from_chars(read.ptr + 1, end, minor);
    if (read.ec != std::errc() || (major == 6 && minor == 1)) return quant::Int3Zeros::kUnknown;
    return std::pair(major, minor) < std::pair(6, 1) ? quant::Int3Zeros::kWords
                                                     : quant::Int3Zeros::kFields;
  }
  return other;
}

void ReadGptq(Reader& in, QuantConfig& out) {
  out.method = QuantMethod::kGptq;
  const int64_t bits = in.Int("bits", {}, 4);
  if (bits != 2 && bits != 3 && bits != 4 && bits != 8) in.NotSupported("bits", Json(bits));
  out.bits = static_cast<int>(bits);
  ReadGroupSize(in, {}, -1, out);
  out.act_order = in.Bool("desc_act", false);
  const bool is_symmetric = in.Bool("sym", false);  // shows in the tensors, but for 3 bits of v1
  const std::string format = in.Text("checkpoint_format", "format");
  if (!format.empty() && format != "gptq" && format != "gptq_v2") {
    in.NotSupported("checkpoint_format", Json(format));
  }
  out.zeros_minus_one = format != "gptq_v2";
  if (const Json* dynamic = in.Find("dynamic")) {
    if (!dynamic->is_object()) return in.Invalid("dynamic", "an object", *dynamic);
    ReadRules(in, *dynamic, out);
  }
  out.int3_zeros = ReadInt3Zeros(in, is_symmetric && !out.from_shapes);  // a rule has its own "sym"
}

void ReadAwq(Reader& in, QuantConfig& out) {
  out.method = QuantMethod::kAwq;
  const int64_t bits = in.Int("bits", "w_bit", 4);
  if (bits != 4) in.NotSupported("bits", Json(bits));
  ReadGroupSize(in, "q_group_size", 128, out);
  if (!in.Bool("zero_point", true)) in.NotSupported("zero_point", Json(false));
  const std::string version = in.Text("version");
  if (!version.empty() && version != "gemm") in.NotSupported("version", Json(version));
  // GPTQModel's word for it.
  const std::string format = in.Text("checkpoint_format", "format");
  if (!format.empty() && format != "gemm") in.NotSupported("checkpoint_format", Json(format));
}

// `fallback`: the method where the object does not name it.
Result<QuantConfig> Read(const Json& json, const std::string& culprit, QuantMethod fallback,
                         const io::TensorDirectory& tensors) {
  const std::string_view tensor = FirstPackedTensor(tensors);
  if (!json.is_object()) {
    return InvalidArgument(fmt::format("{}: expected an object, got {}{}", culprit, json.TypeName(),
                                       OfTensor(tensor)));
  }
  Reader in(json, culprit, tensor);
  QuantConfig out;
  const std::string method = in.Text("quant_method");
  if (method == "gptq" || (method.empty() && fallback == QuantMethod::kGptq)) {
    ReadGptq(in, out);
  } else if (method == "awq" || (method.empty() && fallback == QuantMethod::kAwq)) {
    ReadAwq(in, out);
  } else {
    in.NotSupported("quant_method", method.empty() ? Json() : Json(method));
  }
  if (!in.status().ok()) return in.status();
  return out;
}

}  // namespace

bool HasPackedTensors(const io::TensorDirectory& tensors) {
  return !FirstQweight(tensors).empty();
}

std::string QuantConfig::Describe() const {
  if (method == QuantMethod::kNone) return "none";
  const std::string group =
      group_size == -1 ? "whole rows" : fmt::format("groups of {}", group_size);
  return fmt::format("{} {} bits, {}", method == QuantMethod::kGptq ? "gptq" : "awq", bits, group);
}

Result<QuantConfig> ReadQuantConfig(const io::ModelSource& source) {
  if (source.format != io::ModelFormat::kHuggingFace) return QuantConfig();
  const Json* json = source.config.Find("quantization_config");
  if (json != nullptr && !json->is_null()) {
    return Read(*json, source.path + ": config.json: quantization_config", QuantMethod::kNone,
                source.tensors);
  }
  if (!HasPackedTensors(source.tensors)) return QuantConfig();
  constexpr size_t kMaxBytes = 1u << 20;
  struct SideFile {
    std::string_view name;
    QuantMethod method;
  };
  for (const SideFile& file : {SideFile{"quantize_config.json", QuantMethod::kGptq},
                               SideFile{"quant_config.json", QuantMethod::kAwq}}) {
    const Result<std::string> text = source.ReadSideFile(file.name, kMaxBytes);
    if (!text.ok() && text.status().code() == StatusCode::kNotFound) continue;
    if (!text.ok()) return text.status();
    const std::string culprit = source.folder + "/" + std::string(file.name);
    RILL_ASSIGN_OR_RETURN(const Json parsed, Json::Parse(*text, culprit));
    return Read(parsed, culprit, file.method, source.tensors);
  }
  return InvalidArgument(fmt::format(
      "{}: config.json: quantization_config: missing, but the file has packed tensors{}",
      source.path, OfTensor(FirstQweight(source.tensors))));
}

}  // namespace rill::model
