// Every backend that this build has, by name. The only door from llm/ to concrete backends.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ops/backend.h"

namespace rill::backends {

struct BackendOptions {
  int num_threads = 0;  // <= 0: all CPUs this process may use
  std::string cpu_isa;  // "" = $RILL_CPU_ISA or the best present; scalar | avx2 | avx512 | …
};

// name: "cpu" or "reference". Errors list what exists.
Result<std::unique_ptr<ops::Backend>> MakeBackend(std::string_view name,
                                                  const BackendOptions& options = {});
std::vector<std::string> BackendNames();
// lanes() of such a backend, to plan memory before there is one; none of one that does not exist.
ops::LaneLimits LanesOf(std::string_view name, const BackendOptions& options);

}  // namespace rill::backends
