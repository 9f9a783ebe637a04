// ChatTemplate: a model's Jinja chat template, compiled once, rendered per request within limits.
//
// Renders exactly as jinja2 does when configured as `transformers` configures it
// (ImmutableSandboxedEnvironment, trim_blocks, lstrip_blocks, loopcontrols, `tojson`,
// `raise_exception`, `strftime_now`, {% generation %} blocks), for what templates use. There is no
// attribute access beyond a whitelist, no include/import, no file or environment access.
// Immutable after Compile; Render is thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "rill/json.h"
#include "rill/status.h"
#include "text/marked_text.h"

namespace rill::text {

struct TemplateLimits {
  int64_t max_steps = 5'000'000;        // evaluated nodes and loop iterations
  int max_depth = 100;                  // source nesting; macro calls; evaluation: 10 times it
  size_t max_output_bytes = 16u << 20;  // and of every string; all live values: 8 times it
  size_t max_source_bytes = 1u << 20;
};

struct TemplateInput {
  Json messages;   // array of {role, content, …}
  Json tools;      // array or null
  Json documents;  // array or null
  bool add_generation_prompt = true;
  std::string bos_token, eos_token;  // empty: undefined. Others through extra
  Json extra;                        // object or null: further top-level variables (kwargs)
  Json untrusted_extra;              // the same, from whom is not trusted
  int64_t now_unix_s = -1;           // for strftime_now, local time; < 0 = the clock
};

class ChatTemplate {
 public:
  // `culprit` starts error messages, which name line and what was expected.
  static Result<std::shared_ptr<const ChatTemplate>> Compile(std::string_view source,
                                                             std::string_view culprit,
                                                             const TemplateLimits& limits = {});
  virtual ~ChatTemplate() = default;

  // Template literals and bos/eos/extra are trusted bytes of the result; everything that comes
  // from messages, tools or documents is not, through every string operation.
  // Errors: kInvalidArgument with the template's own raise_exception() text or an undefined use;
  // kResourceExhausted when a limit is hit.
  virtual Result<MarkedText> Render(const TemplateInput& input) const = 0;
};

}  // namespace rill::text
