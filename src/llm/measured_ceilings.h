// What a benchmark measures against.
#pragma once

#include <string>

#include "ops/backend.h"
#include "rill/hardware.h"
#include "rill/status.h"

namespace rill::llm {

// The backend's ceilings; of one that measures none, its name and rates of 0, so that times are
// reported without a limit. Errors: of the measurement.
inline Result<Ceilings> MeasuredCeilings(ops::Backend& backend, const CeilingOptions& options) {
  Result<Ceilings> measured = backend.MeasureCeilings(options);
  if (measured.ok() || measured.status().code() != StatusCode::kUnsupported) return measured;
  Ceilings none;
  none.isa = std::string(backend.name());
  none.threads = 1;
  return none;
}

}  // namespace rill::llm
