#include "backends/registry.h"

#include "backends/cpu/cpu_backend.h"

namespace rill::backends {

std::vector<std::string> BackendNames() {
  return {"cpu", "reference"};
}

Result<std::unique_ptr<ops::Backend>> MakeBackend(std::string_view name,
                                                  const BackendOptions& options) {
  if (name == "cpu") return cpu::MakeCpuBackend(options);
  if (name == "reference") return ops::MakeReferenceBackend();
  std::string known;
  for (const std::string& backend : BackendNames()) {
    known += (known.empty() ? "" : ", ") + backend;
  }
  return NotFound("backend '" + std::string(name) + "': this build has " + known);
}

ops::LaneLimits LanesOf(std::string_view name, const BackendOptions& options) {
  return name == "cpu" ? cpu::LanesOf(options) : ops::LaneLimits{};
}

}  // namespace rill::backends
