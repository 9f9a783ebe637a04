// Is a text UTF-8, and where not?
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace rill {

// Offset of the first byte that begins no well-formed character (Unicode 15, table 3-7); nullopt
// when all do.
std::optional<size_t> FindInvalidUtf8(std::string_view text);

}  // namespace rill
