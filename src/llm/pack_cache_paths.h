// Where a model's pack cache is.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "io/model_source.h"

namespace rill::llm {

// Best first: beside the model's file, or in its folder, and packs/ of the cache folder, for models
// whose folder cannot be written. `weights` as in LoadOptions: one file for each.
//   m.gguf → m.gguf.rill-pack, m.gguf.w8a8.rill-pack; folder/ → folder/model.rill-pack
// Nothing for a model that is no file.
std::vector<std::string> PackCachePaths(const io::ModelSource& source, std::string_view weights);

}  // namespace rill::llm
