#include "io/model_source.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/utf8.h"
#include "io/llama2c.h"
#include "io/safe_open.h"
#include "io/safetensors.h"
#include "rill/file_error.h"

namespace rill::io {
namespace {

constexpr size_t kMaxConfigBytes = 8u << 20;
constexpr size_t kMaxFolderEntries = 65'536;
constexpr std::string_view kSafetensors = ".safetensors";
constexpr std::string_view kIndex = ".safetensors.index.json";

std::string Shown(std::string_view path) {
  return PrintableUtf8(path, 1000);
}

bool IsPickleName(std::string_view name) {
  for (std::string_view ending : {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"}) {
    if (name.ends_with(ending)) return true;
  }
  return false;
}

Status PickleError(const std::string& path) {
  return Unsupported(Shown(path) +
                     ": PyTorch pickles can run any code when they are read, so Rill does not "
                     "read them; convert the model to safetensors or GGUF");
}

struct Location {
  std::string folder;
  std::string name;
};

Location Split(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

// Names of the entries of a folder, sorted.
Result<std::vector<std::string>> ListFolder(const std::string& folder) {
  DIR* dir = ::opendir(folder.c_str());
  if (!dir) return FileError(Shown(folder) + ": cannot be read: " + std::strerror(errno), errno);
  std::vector<std::string> names;
  bool too_many = false;
  while (const dirent* entry = ::readdir(dir)) {
    too_many = names.size() == kMaxFolderEntries;
    if (too_many) break;
    names.emplace_back(entry->d_name);
  }
  ::closedir(dir);
  if (too_many) {
    return ResourceExhausted(Shown(folder) + ": more than " + std::to_string(kMaxFolderEntries) +
                             " files");
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string JoinNames(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size() && i < 5; ++i) {
    text += (i ? ", " : "") + PrintableUtf8(names[i], 80);
  }
  if (names.size() > 5) text += ", …";
  return text;
}

// "-00001-of-00002" at the end of a shard's stem is not part of the model's name.
std::string_view WithoutShardNumber(std::string_view stem) {
  constexpr std::string_view kForm = "-NNNNN-of-NNNNN";
  if (stem.size() <= kForm.size()) return stem;
  const std::string_view tail = stem.substr(stem.size() - kForm.size());
  for (size_t i = 0; i < kForm.size(); ++i) {
    const bool matches = kForm[i] == 'N' ? tail[i] >= '0' && tail[i] <= '9' : tail[i] == kForm[i];
    if (!matches) return stem;
  }
  return stem.substr(0, stem.size() - kForm.size());
}

Result<Json> ReadJson(const ModelSource& source, std::string_view name) {
  RILL_ASSIGN_OR_RETURN(const std::string text, source.ReadSideFile(name, kMaxConfigBytes));
  const std::string culprit = Shown(source.folder + "/" + std::string(name));
  RILL_ASSIGN_OR_RETURN(Json json, Json::Parse(text, culprit));
  if (!json.is_object()) {
    return InvalidArgument(culprit + ": expected an object, got " + std::string(json.TypeName()));
  }
  return json;
}

// Reads the first of `names` that exists; null when none does.
Result<Json> ReadFirstJson(const ModelSource& source, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    Result<Json> json = ReadJson(source, name);
    if (json.ok() || json.status().code() != StatusCode::kNotFound) return json;
  }
  return Json();
}

Result<ModelSource> OpenGgufModel(const std::string& path, const OpenOptions& options) {
  RILL_ASSIGN_OR_RETURN(GgufFile file, OpenGguf(path, options));
  ModelSource source;
  source.format = ModelFormat::kGguf;
  source.path = path;
  source.folder = Split(path).folder;
  // The metadata's strings lie in the files: whoever holds the one holds the other.
  struct Owned {
    GgufMetadata metadata;
    TensorDirectory tensors;
  };
  source.tensors = file.tensors;
  auto owned = std::make_shared<Owned>();
  owned->metadata = std::move(file.metadata);
  owned->tensors = std::move(file.tensors);
  source.gguf = std::shared_ptr<const GgufMetadata>(owned, &owned->metadata);
  return source;
}

Result<ModelSource> OpenLlama2cModel(const std::string& path, const OpenOptions& options) {
  {
    RILL_ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
    if (!IsLlama2c(file->bytes())) {
      // A zip archive, as torch.save writes today, or a bare pickle with its protocol first.
      const std::span<const std::byte> bytes = file->bytes();
      const bool is_zip = bytes.size() >= 4 && std::memcmp(bytes.data(), "PK\x03\x04", 4) == 0;
      const bool is_pickle = bytes.size() >= 2 && bytes[0] == std::byte{0x80};
      const std::string name = Split(path).name;
      const bool is_named = !name.ends_with(".bin") || name.starts_with("pytorch_model");
      if (is_zip || is_pickle || is_named) return PickleError(path);
      return InvalidArgument(Shown(path) +
                             ": unknown format; expected a llama2.c checkpoint, or a .safetensors "
                             "or .gguf file");
    }
  }
  RILL_ASSIGN_OR_RETURN(Llama2cModel model, OpenLlama2c(path, options));
  ModelSource source;
  source.format = ModelFormat::kHuggingFace;
  source.path = path;
  source.folder = Split(path).folder;
  source.tensors = std::move(model.tensors);
  source.config = std::move(model.config);
  return source;
}

// `name` in `folder` is a .safetensors file or an index.
Result<ModelSource> OpenSafetensorsModel(const std::string& folder, const std::string& name,
                                         const std::string& path, const OpenOptions& options) {
  ModelSource source;
  source.format = ModelFormat::kHuggingFace;
  source.path = path;
  source.folder = folder;
  const bool is_index = name.ends_with(kIndex);
  const size_t ending = is_index ? kIndex.size() : kSafetensors.size();
  const std::string_view file_stem = std::string_view(name).substr(0, name.size() - ending);
  const std::string stem(is_index ? file_stem : WithoutShardNumber(file_stem));
  RILL_ASSIGN_OR_RETURN(
      source.config,
      ReadFirstJson(source, {stem + "_config.json", stem + ".config.json", "config.json"}));
  if (source.config.is_null()) {
    return NotFound(Shown(folder + "/" + name) + ": expected config.json (or " +
                    PrintableUtf8(stem, 80) + "_config.json) beside it");
  }
  RILL_ASSIGN_OR_RETURN(source.generation_config,
                        ReadFirstJson(source, {"generation_config.json"}));
  // One shard stands for the whole model.
  const bool is_shard = !is_index && stem != file_stem;
  const std::string opened = is_shard ? stem + std::string(kIndex) : name;
  if (is_index || is_shard) {
    RILL_RETURN_IF_ERROR(OpenSafetensorsIndex(folder + "/" + opened, options, source.tensors));
  } else {
    RILL_RETURN_IF_ERROR(OpenSafetensors(folder + "/" + opened, options, source.tensors));
  }
  return source;
}

Result<ModelSource> OpenFolder(const std::string& folder, const OpenOptions& options) {
  RILL_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(folder));
  std::vector<std::string> indices, weights, ggufs, pickles;
  for (const std::string& name : names) {
    if (name.ends_with(kIndex)) {
      indices.push_back(name);
    } else if (name.ends_with(kSafetensors)) {
      const std::string_view stem(name.data(), name.size() - kSafetensors.size());
      if (WithoutShardNumber(stem) == stem) weights.push_back(name);
    } else if (name.ends_with(".gguf")) {
      // Of a split model, the first part stands for all.
      const std::string_view stem(name.data(), name.size() - 5);
      if (WithoutShardNumber(stem) == stem || name.find("-00001-of-") != std::string::npos) {
        ggufs.push_back(name);
      }
    } else if (IsPickleName(name)) {
      pickles.push_back(name);
    }
  }
  const auto has = [](const std::vector<std::string>& list, std::string_view name) {
    return std::find(list.begin(), list.end(), name) != list.end();
  };
  if (has(indices, "model.safetensors.index.json")) {
    return OpenSafetensorsModel(folder, "model.safetensors.index.json", folder, options);
  }
  if (has(weights, "model.safetensors")) {
    return OpenSafetensorsModel(folder, "model.safetensors", folder, options);
  }
  std::vector<std::string> all = indices;
  for (const auto* list : {&weights, &ggufs}) all.insert(all.end(), list->begin(), list->end());
  if (all.size() > 1) {
    return InvalidArgument(Shown(folder) + ": " + std::to_string(all.size()) +
                           " models in this folder, name one of the files: " + JoinNames(all));
  }
  if (all.size() == 1) {
    if (all[0].ends_with(".gguf")) return OpenGgufModel(folder + "/" + all[0], options);
    return OpenSafetensorsModel(folder, all[0], folder, options);
  }
  if (pickles.size() == 1) {
    const std::string path = folder + "/" + pickles[0];
    Result<ModelSource> source = OpenLlama2cModel(path, options);
    return source;
  }
  if (!pickles.empty()) return PickleError(folder + "/" + pickles[0]);
  return NotFound(Shown(folder) +
                  ": no model in this folder; expected config.json and model.safetensors (or its "
                  "index), or one .gguf file");
}

}  // namespace

Result<std::string> ModelSource::ReadSideFile(std::string_view name, size_t max_bytes) const {
  RILL_ASSIGN_OR_RETURN(const OpenedFile file, OpenRegularFileBeneath(folder, name));
  return ReadAll(file, folder + "/" + std::string(name), max_bytes);
}

Result<ModelSource> OpenModel(const std::string& path, const OpenOptions& options) {
  struct stat info;
  if (path.empty() || path.find('\0') != std::string::npos || ::stat(path.c_str(), &info) != 0) {
    return NotFound("'" + Shown(path) + "': no such file or folder");
  }
  if (S_ISDIR(info.st_mode)) {
    std::string folder = path;
    while (folder.size() > 1 && folder.ends_with('/')) folder.pop_back();
    return OpenFolder(folder, options);
  }
  RILL_ASSIGN_OR_RETURN(const OpenedFile opened, OpenRegularFile(path));
  const Location at = Split(path);
  if (at.name.ends_with(kIndex) || at.name.ends_with(kSafetensors)) {
    return OpenSafetensorsModel(at.folder, at.name, path, options);
  }
  char magic[4] = {};
  if (opened.size_bytes >= sizeof magic) {
    RILL_ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
    std::memcpy(magic, file->bytes().data(), sizeof magic);
  }
  if (std::memcmp(magic, "GGUF", 4) == 0) return OpenGgufModel(path, options);
  if (IsPickleName(at.name)) return OpenLlama2cModel(path, options);
  if (at.name.ends_with(".gguf")) return OpenGgufModel(path, options);  // for its error
  return InvalidArgument(Shown(path) +
                         ": not a model; expected a .gguf or .safetensors file, a folder with "
                         "config.json and model.safetensors, or a llama2.c .bin");
}

}  // namespace rill::io
