#include "model/family.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/utf8.h"
#include "model/fit_to_file.h"
#include "model/spec_check.h"

namespace rill::model {

#define ARCH(file, Name) const Family& Name##Family();
#include "model/arch_list.def"
#undef ARCH

namespace {

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replace});
    }
  }
  return row.back();
}

Status UnknownArchitecture(const io::ModelSource& source, std::string_view key,
                           std::string_view name, bool gguf) {
  std::vector<std::string> known;
  for (const Family* family : Families()) {
    for (std::string_view k : gguf ? family->gguf : family->hf_types) known.emplace_back(k);
  }
  std::string nearest, all;
  for (const std::string& k : NearestNames(name, known, 3)) {
    nearest += (nearest.empty() ? "" : ", ") + k;
  }
  std::sort(known.begin(), known.end());
  for (const std::string& k : known) all += (all.empty() ? "" : ", ") + k;
  return Unsupported(fmt::format("{}: {} '{}' is not supported; nearest are {} (all: {})",
                                 source.path, key, PrintableUtf8(name, 64), nearest, all));
}

const Family* FindFamily(std::string_view name, bool gguf) {
  for (const Family* family : Families()) {
    for (std::string_view k : gguf ? family->gguf : family->hf_types) {
      if (k == name) return family;
    }
  }
  return nullptr;
}

Result<Description> DescribeGguf(const io::ModelSource& source) {
  RILL_ASSIGN_OR_RETURN(const std::optional<std::string_view> architecture,
                        source.gguf->GetString("general.architecture"));
  if (!architecture) {
    return InvalidArgument(source.path + ": general.architecture: expected a string, got nothing");
  }
  const Family* family = FindFamily(*architecture, true);
  if (family == nullptr || family->read_gguf == nullptr) {
    return UnknownArchitecture(source, "general.architecture", *architecture, true);
  }
  Description out;
  GgufConfig config(source, std::string(*architecture));
  out.spec.family = std::string(family->name);
  family->read_gguf(config, out);
  RILL_RETURN_IF_ERROR(config.status());
  const auto name = source.gguf->GetString("general.name");
  if (name.ok() && *name) out.spec.name = std::string(**name);
  return out;
}

Result<Description> DescribeHf(const io::ModelSource& source) {
  const std::string culprit = source.path + ": config.json";
  if (!source.config.is_object()) return InvalidArgument(culprit + ": expected an object");
  RILL_ASSIGN_OR_RETURN(const std::string type, source.config.GetString("model_type", ""));
  if (type.empty()) {
    return InvalidArgument(culprit + ": model_type: expected a string, got nothing");
  }
  const Family* family = FindFamily(type, false);
  if (family == nullptr || family->read_hf == nullptr) {
    return UnknownArchitecture(source, "model_type", type, false);
  }
  Description out;
  HfConfig config(source.config, culprit);
  out.spec.family = std::string(family->name);
  family->read_hf(config, out);
  RILL_RETURN_IF_ERROR(config.status());
  FitNames(source.tensors, out.names);
  FitHead(source.tensors, out);
  RILL_ASSIGN_OR_RETURN(out.quant, ReadQuantConfig(source));
  std::string_view path = source.folder;
  while (path.ends_with('/')) path.remove_suffix(1);
  out.spec.name = std::string(path.substr(path.rfind('/') + 1));
  return out;
}

}  // namespace

std::vector<std::string> NearestNames(std::string_view name, std::vector<std::string> known,
                                      size_t count) {
  std::string wanted(name.substr(0, 64));
  std::transform(wanted.begin(), wanted.end(), wanted.begin(), [](unsigned char c) {
    return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  });
  std::stable_sort(known.begin(), known.end(), [&](const std::string& a, const std::string& b) {
    return EditDistance(wanted, a) < EditDistance(wanted, b);
  });
  if (known.size() > count) known.resize(count);
  return known;
}

std::span<const Family* const> Families() {
  static const std::vector<const Family*> kFamilies = {
#define ARCH(file, Name) &Name##Family(),
#include "model/arch_list.def"
#undef ARCH
  };
  return kFamilies;
}

Result<Description> Describe(const io::ModelSource& source, int32_t requested_context) {
  RILL_ASSIGN_OR_RETURN(Description out, source.format == io::ModelFormat::kGguf
                                             ? DescribeGguf(source)
                                             : DescribeHf(source));
  DecoderSpec& spec = out.spec;
  if (requested_context < 0) {
    return InvalidArgument(
        fmt::format("max_context: expected 0 or more positions, got {}", requested_context));
  }
  spec.max_context = requested_context > 0 ? requested_context : spec.trained_context;
  if (spec.context_is_hard && spec.max_context > spec.trained_context) {
    return InvalidArgument(fmt::format("max_context: {} has {} positions, got {}", source.path,
                                       spec.trained_context, requested_context));
  }
  RILL_RETURN_IF_ERROR(CheckSpec(spec, static_cast<int64_t>(source.tensors.entries().size()))
                           .WithPrefix(source.path));
  for (const RopeConfig& rope : out.ropes) {
    Result<RopeSpec> made = MakeRope(rope, spec.max_context);
    if (!made.ok()) return made.status().WithPrefix(source.path);
    spec.ropes.push_back(std::move(*made));
  }
  RILL_RETURN_IF_ERROR(CheckLayers(spec).WithPrefix(source.path));
  return out;
}

}  // namespace rill::model
