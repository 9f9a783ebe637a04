// The CPU backend: ops on this machine's cores, the same bits on every instruction set.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "backends/registry.h"

namespace rill::cpu {

// Errors: kInvalidArgument or kUnsupported when options.cpu_isa (or $RILL_CPU_ISA) names an
// instruction set that does not exist or that this CPU lacks.
Result<std::unique_ptr<ops::Backend>> MakeCpuBackend(const backends::BackendOptions& options);

// What lanes() of that backend says, without its threads; none on an error.
ops::LaneLimits LanesOf(const backends::BackendOptions& options);

// What to tell the user when the kernels `isa` are the best that this CPU can run; "" when they are
// good ones, or were asked for.
std::string PlainCodeWarning(std::string_view isa, bool was_chosen);

}  // namespace rill::cpu
