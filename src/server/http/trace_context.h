// Trace context: the `traceparent` field of W3C Trace Context.
//
//   00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
//   version (2) - trace id (32) - parent id (16) - flags (2), lower-case hexadecimal digits
//
// Version ff and ids of zeros alone are not valid. A version after 00 may be longer: what follows
// the flags then begins with '-' and is not read.
#pragma once

#include <string_view>

namespace rill::server {

// The trace id, 32 digits within `traceparent`; "" when the value is not valid: it is ignored then,
// as the standard says.
std::string_view TraceIdOf(std::string_view traceparent);

}  // namespace rill::server
