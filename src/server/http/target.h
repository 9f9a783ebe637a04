// The target of a request ("/v1/models/x?limit=3") taken apart. Decoded once, never twice.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "rill/status.h"
#include "server/http/message.h"

namespace rill::server {

struct Target {
  std::string path;                   // "/" + segments joined by "/"
  std::vector<std::string> segments;  // percent-decoded; one for each literal '/'
  NameValues query;                   // percent-decoded, '+' is a space
};

// `text` has passed ParseHead. kNotFound for what can name nothing here: empty segments ("//"),
// "." and ".." also when percent-encoded, controls, invalid UTF-8. A segment may hold an encoded
// slash; only parameters that take the rest match it, and its parts obey the same rules. One
// trailing slash is dropped. Query: kInvalidArgument for a malformed one or one of more than 100
// pairs.
Result<Target> ParseTargetPath(std::string_view text);

}  // namespace rill::server
