// A model folder as far as text goes: for commands that need a tokenizer and no weights.
#pragma once

#include <string>

#include "io/model_source.h"
#include "rill/status.h"

namespace rill::llm {

// Side files and config of the Hugging Face folder `path`; its weights may be missing or broken
// and are not looked at. Errors: kNotFound when it is no folder, or has neither config.json nor
// tokenizer_config.json nor a tokenizer file; what is wrong with config.json.
Result<io::ModelSource> OpenTextFolder(const std::string& path);

}  // namespace rill::llm
