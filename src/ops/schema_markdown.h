// The published pages of the operator standard, from the schemas.
#pragma once

#include <string>

#include "ops/op_schema.h"

namespace rill::ops {

// docs/ops/<op>.md
std::string SchemaMarkdown(const OpSchema& schema);
// docs/ops/README.md: all ops by name, with their summaries.
std::string SchemaIndexMarkdown();

}  // namespace rill::ops
