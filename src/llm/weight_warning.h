// What a load says of weights that are no numbers.
#pragma once

#include <optional>
#include <string>

#include "io/tensor_directory.h"

namespace rill::llm {

// Looks at a sample of the weights (io/check_tensors.h). One sentence that names `path` and the
// first tensor with a NaN or an Inf; nothing when none was seen.
std::optional<std::string> NonFiniteWarning(const std::string& path,
                                            const io::TensorDirectory& tensors);

}  // namespace rill::llm
