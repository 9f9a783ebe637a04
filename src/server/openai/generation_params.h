// GenerationParams: what /v1/chat/completions and /v1/completions have in common: how tokens are
// chosen, when to stop, how the answer is sent. OpenAI's fields and vLLM's extensions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "rill/json.h"
#include "rill/sampling.h"
#include "server/openai/field_reader.h"

namespace rill::server::openai {

// What the model and the server allow. Every number of a request is compared with one of these
// before anything is allocated for it.
struct ParseLimits {
  int32_t vocab_size = 0;   // ids in [0, vocab_size)
  int32_t max_context = 0;  // positions of one sequence
  int32_t max_choices = 16;
  int32_t max_top_logprobs = 20;
  int32_t max_messages = 4096;
  int32_t max_prompts = 2048;
  int32_t max_stop_strings = 16;
  int32_t max_logit_bias = 1024;
  // Values and members of a body, and of the JSON texts in it.
  int64_t json_nodes = 1 << 20;
  // Names of the chat template's variables: what chat_template_kwargs may set. Others are ignored.
  std::vector<std::string> template_variables = {};
};

struct GenerationParams {
  std::string model;  // as the client wrote it; empty when absent
  SamplingParams sampling;
  bool has_max_tokens = false;  // otherwise sampling.max_tokens is the endpoint's default
  int32_t n = 1;
  std::vector<std::string> stop;
  bool include_stop_string = false;
  bool skip_special = true;
  // Engine's sense: higher first (the field's sense is vLLM's: lower first). Absent: not given.
  std::optional<int32_t> priority;
  std::string cache_salt;
  int32_t prompt_logprobs = -1;  // -1: none
  bool return_token_ids = false;
  bool tokens_as_ids = false;  // log-probabilities name tokens "token_id:17"

  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;  // only with include_usage
};

// Reads the common fields. Errors are left in `reader`.
void ReadGenerationParams(FieldReader& reader, const ParseLimits& limits, GenerationParams& out);

// An array of token ids, each in [0, vocab_size), at most `max_size`. False after an error, which
// names `param`.
bool ReadTokenIds(FieldReader& reader, std::string_view param, const Json::Array& array,
                  int32_t vocab_size, size_t max_size, std::vector<int32_t>& out);
// The same as a schema.
void DescribeTokenIds(FieldReader& reader, std::string_view key, int32_t vocab_size,
                      size_t max_size, bool required = false);

// The error of a prompt that cannot fit, in OpenAI's words, which frameworks look for.
ApiError ContextLengthExceeded(std::string param, int64_t max_context, int64_t prompt_tokens);

}  // namespace rill::server::openai
