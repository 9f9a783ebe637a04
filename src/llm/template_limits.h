// What chat templates are held to, for those above this layer.
#pragma once

#include "text/chat_template.h"

namespace rill::llm {

using text::TemplateLimits;

}  // namespace rill::llm
