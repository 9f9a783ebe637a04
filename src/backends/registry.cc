#include "backends/registry.h"

namespace rill::backends {

std::vector<std::string> BackendNames() {
  return {"reference"};
}

Result<std::unique_ptr<ops::Backend>> MakeBackend(std::string_view name, const BackendOptions&) {
  if (name == "reference") return ops::MakeReferenceBackend();
  std::string known;
  for (const std::string& backend : BackendNames()) {
    known += (known.empty() ? "" : ", ") + backend;
  }
  return NotFound("backend '" + std::string(name) + "': this build has " + known);
}

}  // namespace rill::backends
