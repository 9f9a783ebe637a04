#include "rill/status.h"

#include <cstdio>
#include <cstdlib>

namespace rill {

std::string_view StatusCodeName(StatusCode code) {
  switch (code) {
    case StatusCode::kOk: return "ok";
    case StatusCode::kInvalidArgument: return "invalid_argument";
    case StatusCode::kNotFound: return "not_found";
    case StatusCode::kUnsupported: return "unsupported";
    case StatusCode::kResourceExhausted: return "resource_exhausted";
    case StatusCode::kFailedPrecondition: return "failed_precondition";
    case StatusCode::kUnavailable: return "unavailable";
    case StatusCode::kDataLoss: return "data_loss";
    case StatusCode::kCancelled: return "cancelled";
    case StatusCode::kInternal: return "internal";
  }
  return "unknown";
}

std::string Status::ToString() const {
  if (ok()) return "ok";
  std::string text(StatusCodeName(code_));
  text += ": ";
  text += message_;
  return text;
}

Status Status::WithPrefix(std::string_view prefix) const {
  if (ok()) return *this;
  std::string text(prefix);
  text += ": ";
  text += message_;
  return {code_, std::move(text)};
}

void AbortOnBadResult(const Status& status) {
  std::fprintf(stderr, "fatal: value() of a failed Result: %s\n", status.ToString().c_str());
  std::abort();
}

}  // namespace rill
