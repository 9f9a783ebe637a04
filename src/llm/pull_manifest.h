// PullManifest: `.rill-pull.json` in a model's folder, what a pull leaves behind.
//
//   {"source": "hf:owner/repo", "revision": "<commit>",
//    "files": [{"name": "model.gguf", "size_bytes": 1, "sha256": "…"}], "unfinished": ["b.gguf"]}
//
// "unfinished" names the files of a pull that has begun: written before the first byte arrives and
// emptied after the last file has its place, so that nobody opens half of a sharded model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "rill/status.h"

namespace rill::llm {

inline constexpr char kManifestName[] = ".rill-pull.json";

struct PulledFile {
  std::string name;  // relative to the model's folder
  uint64_t size_bytes = 0;
  std::string sha256;  // 64 hexadecimal digits
};

struct PullManifest {
  std::string source;    // "smollm2 (PyPI …)", "hf:owner/repo", "https://…"
  std::string revision;  // commit of the repository, or empty
  std::vector<PulledFile> files;
  std::vector<std::string> unfinished;

  bool IsUnfinished(const std::string& name) const;
  const PulledFile* Find(const std::string& name) const;
  void Put(PulledFile file);  // replaces the entry of the same name
};

// Errors: kNotFound when the folder has none, kInvalidArgument when it is not what we write.
Result<PullManifest> ReadManifest(const std::string& folder);

// Written to a temporary file, then renamed.
Status WriteManifest(const std::string& folder, const PullManifest& manifest);

}  // namespace rill::llm
