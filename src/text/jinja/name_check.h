// Filters and tests that do not exist are an error when a template is compiled, unless an {% if %}
// or an inline if guards them directly: then it is one only when they are reached, as in jinja2.
#pragma once

#include <string_view>

#include "rill/status.h"
#include "text/jinja/ast.h"

namespace rill::text::jinja {

Status CheckNames(const Body& body, std::string_view culprit);

}  // namespace rill::text::jinja
