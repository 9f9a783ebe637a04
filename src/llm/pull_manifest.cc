#include "llm/pull_manifest.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/json.h"
#include "rill/file_error.h"

namespace rill::llm {
namespace {

constexpr uintmax_t kMaxManifestBytes = 16u << 20;

std::string PathOf(const std::string& folder) {
  return folder + "/" + kManifestName;
}

}  // namespace

bool PullManifest::IsUnfinished(const std::string& name) const {
  return std::find(unfinished.begin(), unfinished.end(), name) != unfinished.end();
}

const PulledFile* PullManifest::Find(const std::string& name) const {
  for (const PulledFile& file : files) {
    if (file.name == name) return &file;
  }
  return nullptr;
}

void PullManifest::Put(PulledFile file) {
  for (PulledFile& old : files) {
    if (old.name == file.name) {
      old = std::move(file);
      return;
    }
  }
  files.push_back(std::move(file));
}

Result<PullManifest> ReadManifest(const std::string& folder) {
  const std::string path = PathOf(folder);
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) return NotFound(path + ": " + error.message());
  if (size > kMaxManifestBytes) {
    return InvalidArgument(path + ": expected at most 16 MiB, file has " + std::to_string(size) +
                           " bytes");
  }
  std::ifstream stream(path, std::ios::binary);
  std::stringstream text;
  text << stream.rdbuf();
  RILL_ASSIGN_OR_RETURN(const Json json, Json::Parse(text.str(), path));

  PullManifest manifest;
  RILL_ASSIGN_OR_RETURN(manifest.source, json.GetString("source", ""));
  RILL_ASSIGN_OR_RETURN(manifest.revision, json.GetString("revision", ""));
  if (const Json* files = json.Find("files"); files != nullptr && files->is_array()) {
    for (const Json& entry : files->array()) {
      PulledFile file;
      RILL_ASSIGN_OR_RETURN(file.name, entry.GetString("name", ""));
      RILL_ASSIGN_OR_RETURN(const int64_t size_bytes, entry.GetInt("size_bytes", 0));
      RILL_ASSIGN_OR_RETURN(file.sha256, entry.GetString("sha256", ""));
      file.size_bytes = static_cast<uint64_t>(std::max<int64_t>(size_bytes, 0));
      manifest.files.push_back(std::move(file));
    }
  }
  if (const Json* names = json.Find("unfinished"); names != nullptr && names->is_array()) {
    for (const Json& name : names->array()) {
      if (name.is_string()) manifest.unfinished.push_back(name.string_value());
    }
  }
  return manifest;
}

Status WriteManifest(const std::string& folder, const PullManifest& manifest) {
  Json::Array files;
  for (const PulledFile& file : manifest.files) {
    Json entry;
    entry.Set("name", file.name);
    entry.Set("size_bytes", file.size_bytes);
    entry.Set("sha256", file.sha256);
    files.push_back(std::move(entry));
  }
  Json::Array unfinished;
  for (const std::string& name : manifest.unfinished) unfinished.push_back(name);
  Json json;
  json.Set("source", manifest.source);
  json.Set("revision", manifest.revision);
  json.Set("files", std::move(files));
  json.Set("unfinished", std::move(unfinished));

  const std::string path = PathOf(folder);
  const std::string temporary = path + ".new";
  {
    std::ofstream stream(temporary, std::ios::binary | std::ios::trunc);
    stream << json.Dump(1) << "\n";
    stream.flush();
    if (!stream) {
      return FileError(temporary + ": cannot be written: " + std::strerror(errno), errno);
    }
  }
  std::error_code error;
  std::filesystem::rename(temporary, path, error);
  if (error) return FileError(path + ": cannot be replaced: " + error.message(), error.value());
  return OkStatus();
}

}  // namespace rill::llm
