// ServerLimits: what one request, one connection and one address may take of a server.
//
// Each can be set by name (`rill serve --limit NAME=VALUE`); GET /server_info tells those in force.
// Names end in _bytes or _ms where the unit is not a count.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "rill/status.h"

namespace rill {

struct ServerLimits {
#define LIMIT(name, standard, least, most, what) int64_t name = standard;
#include "rill/server_limit_list.def"
#undef LIMIT
};

struct ServerLimitInfo {
  const char* name;
  int64_t ServerLimits::* value;
  int64_t least, most;
  const char* what;
};
std::span<const ServerLimitInfo> AllServerLimits();

// "NAME=VALUE". Errors: kInvalidArgument for an unknown name, with all names, and for a value
// outside its range.
Status SetServerLimit(std::string_view setting, ServerLimits& limits);
// kInvalidArgument when one is outside its range.
Status CheckServerLimits(const ServerLimits& limits);

}  // namespace rill
