// Parser: tokens to syntax tree, with jinja2's grammar and precedence.
#pragma once

#include <string_view>

#include "rill/status.h"
#include "text/chat_template.h"
#include "text/jinja/ast.h"

namespace rill::text::jinja {

// Errors: kInvalidArgument "<culprit>:<line>: expected …, got …"; kUnsupported for include, import
// and extends; kResourceExhausted when source or nesting exceed `limits`.
Result<Body> Parse(std::string_view source, std::string_view culprit, const TemplateLimits& limits);

}  // namespace rill::text::jinja
