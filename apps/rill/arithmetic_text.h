// One phrase for what decides a model's numbers besides its file.
#pragma once

#include <string>
#include <string_view>

#include "rill/llm.h"

namespace rill::app {

// "weights file, activations f32, kv int8". With w8a8, whose activations are its own, the flag's
// value is that of the matrices it leaves as they are.
std::string ArithmeticText(const LoadOptions& options, std::string_view separator);

}  // namespace rill::app
