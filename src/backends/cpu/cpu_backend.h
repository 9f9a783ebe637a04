// The CPU backend: ops on this machine's cores, the same bits on every instruction set.
#pragma once

#include <memory>

#include "backends/registry.h"

namespace rill::cpu {

// Errors: kInvalidArgument or kUnsupported when options.cpu_isa (or $RILL_CPU_ISA) names an
// instruction set that does not exist or that this CPU lacks.
Result<std::unique_ptr<ops::Backend>> MakeCpuBackend(const backends::BackendOptions& options);

}  // namespace rill::cpu
