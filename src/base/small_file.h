// Small files of the operator: keys, certificates.
#pragma once

#include <cstddef>
#include <string>

#include "rill/status.h"

namespace rill {

// All of a regular file, at most `max_bytes`. Never waits for a writer: a FIFO is not even opened
// for long. Errors, each beginning with the path: it cannot be opened or read, it is anything else
// than a regular file, it is larger.
Result<std::string> ReadSmallFile(const std::string& path, size_t max_bytes);

}  // namespace rill
