// Memory that is there: pages that the system gives at first use are taken at once.
#pragma once

#include <cstdint>

#include "rill/status.h"

namespace rill {

// Makes all pages of the mapped memory [data, data + size_bytes) resident, contents as they are; on
// `num_threads` threads of its own (<= 0: AvailableCpus()), for the system clears what it gives.
// Errors: kResourceExhausted when the system says that it has not as much. It, or a memory control
// group, may end the process instead, as it would later.
Status TouchMemory(void* data, int64_t size_bytes, int num_threads = 0);

}  // namespace rill
