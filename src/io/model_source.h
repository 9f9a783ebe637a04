// ModelSource: an opened model, whichever format it came in. What model/ and text/ read.
#pragma once

#include <memory>
#include <string>

#include "base/json.h"
#include "io/gguf.h"
#include "io/tensor_directory.h"
#include "rill/status.h"

namespace rill::io {

enum class ModelFormat : uint8_t { kGguf, kHuggingFace };

struct ModelSource {
  ModelFormat format = ModelFormat::kGguf;
  std::string path;         // what was opened: a .gguf file or a folder
  std::string folder;       // where its side files (tokenizer.json, …) are; the file's own folder
  TensorDirectory tensors;  // empty for a vocab-only GGUF
  std::shared_ptr<const GgufMetadata> gguf;  // null for Hugging Face folders
  Json config;                               // config.json; null for GGUF
  Json generation_config;                    // generation_config.json; null when absent

  // Reads a side file of a Hugging Face folder (a plain name, no slashes), at most max_bytes.
  // kNotFound when absent.
  Result<std::string> ReadSideFile(std::string_view name, size_t max_bytes) const;
};

// `path`: a .gguf file; a .safetensors file with config.json (or <stem>_config.json, or
// <stem>.config.json) beside it; or a folder with config.json and model.safetensors or
// model.safetensors.index.json (any *.safetensors.index.json or a single *.safetensors when there
// is only one). Refuses devices, FIFOs, empty files, pickles (.bin/.pt/.pth/.pkl), and shards
// outside the folder.
Result<ModelSource> OpenModel(const std::string& path, const OpenOptions& options = {});

}  // namespace rill::io
