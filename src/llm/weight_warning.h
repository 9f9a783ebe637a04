// What a load says of weights that are no numbers.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "io/check_tensors.h"

namespace rill::llm {

// One sentence that names `path` and the first tensor with a NaN or an Inf, and says how many more
// there are; nothing when none was seen. `sampled`: by io::SampleTensors; `loaded`: names of those
// that a load saw (model::Model::damaged_tensors). A tensor that both have counts once.
std::optional<std::string> NonFiniteWarning(const std::string& path,
                                            const io::TensorReport& sampled,
                                            std::span<const std::string> loaded);

// The same of tensors that are finite in the file at `path` and were made f16 (Requantize), which
// ends at 65504 where bf16 and f32 do not. `made`: their names.
std::optional<std::string> MadeNonFiniteWarning(const std::string& path,
                                                std::span<const std::string> made);

}  // namespace rill::llm
