// Shared by `run` and `chat`: messages in, statistics out.
#pragma once

#include <string>
#include <vector>

#include "command.h"

namespace rill::app {

// [{"role": "system", …}, {"role": "user", …}]; no system message when `system` is empty.
Json MakeMessages(const std::string& system, const std::string& user);

// {"prompt_ids", "output_ids", "text", "finish_reason", "stats": {…}}
Json GenerationJson(const std::vector<int32_t>& prompt_ids, const GenerateResult& result);

// "12 prompt tokens in 0.05 s (240 tok/s), 64 output tokens at 90.1 tok/s, …"
std::string StatsLine(const ModelInfo& info, const GenerateResult& result);

// The interactive loop; gives the exit code.
int ChatMain(const ModelFlags& model, const SamplingFlags& sampling, const std::string& system);

}  // namespace rill::app
