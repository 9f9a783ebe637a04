// Errors of a step for a caller that has the model for itself.
#pragma once

#include "rill/status.h"

namespace rill::llm {

// A step without memory is kUnavailable, which a server's client may try again later. Alone on the
// model there is no later: kResourceExhausted.
inline Status MemoryError(Status status) {
  if (status.code() != StatusCode::kUnavailable) return status;
  return ResourceExhausted(status.message());
}

}  // namespace rill::llm
