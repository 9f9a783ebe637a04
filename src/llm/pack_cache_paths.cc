#include "llm/pack_cache_paths.h"

#include <fmt/format.h>

#include <filesystem>
#include <span>

#include "io/pack_file.h"
#include "llm/model_store.h"

namespace rill::llm {

std::vector<std::string> PackCachePaths(const io::ModelSource& source, std::string_view weights) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path real = fs::canonical(source.path, error);
  if (error) return {};
  const std::string suffix =
      (weights == "file" ? std::string() : "." + std::string(weights)) + ".rill-pack";
  const bool is_folder = fs::is_directory(real, error);
  std::vector<std::string> paths;
  paths.push_back((is_folder ? (fs::path(source.path) / "model").string() : source.path) + suffix);
  if (const auto store = ModelStore::FromEnvironment(); store.ok()) {
    const std::string& text = real.native();
    // Many models have a file of one name; the hash of the path tells them apart.
    paths.push_back(fmt::format("{}/packs/{}-{:016x}{}", store->root(),
                                real.filename().native().substr(0, 100),
                                io::HashBytes(std::as_bytes(std::span(text))), suffix));
  }
  return paths;
}

}  // namespace rill::llm
