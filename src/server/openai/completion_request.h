// The body of POST /v1/completions.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "server/openai/generation_params.h"

namespace rill::server::openai {

struct CompletionRequest {
  GenerationParams params;
  std::vector<std::variant<std::string, std::vector<int32_t>>> prompts;  // at least one
  bool add_special = true;                                               // BOS before a text prompt
  int32_t best_of = 1;                                                   // >= params.n
  bool echo = false;
  // -1: none. The number of alternatives is params.sampling.logprobs.
  bool logprobs = false;
};

// Fills `out`; errors are left in `reader`.
void ReadCompletionRequest(FieldReader& reader, const ParseLimits& limits, CompletionRequest& out);
// The same of a whole body, which must be an object: what is wrong, if anything.
std::optional<ApiError> ParseCompletionRequest(const Json& body, const ParseLimits& limits,
                                               CompletionRequest& out);

}  // namespace rill::server::openai
