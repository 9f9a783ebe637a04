#include "server/openai/completion_request.h"

#include <fmt/format.h>

namespace rill::server::openai {
namespace {

// A prompt that fills the context can be scored (max_tokens 0); one more token is beyond it.
bool ReadIds(FieldReader& reader, const ParseLimits& limits, const Json::Array& array,
             CompletionRequest& out) {
  if (array.empty()) {
    reader.FailValue("prompt", "an array of token ids must not be empty.");
    return false;
  }
  if (array.size() > static_cast<size_t>(limits.max_context)) {
    reader.Fail(
        ContextLengthExceeded("prompt", limits.max_context, static_cast<int64_t>(array.size())));
    return false;
  }
  std::vector<int32_t> ids;
  if (!ReadTokenIds(reader, "prompt", array, limits.vocab_size, array.size(), ids)) return false;
  out.prompts.emplace_back(std::move(ids));
  return true;
}

void ReadPrompt(FieldReader& reader, const ParseLimits& limits, CompletionRequest& out) {
  reader.Describe(
      "prompt",
      [&] {
        return fmt::format(
            R"({{"anyOf":[{{"type":"string"}},{{"type":"array","minItems":1,"maxItems":{0},)"
            R"("items":{{"type":"string"}}}},{1},{{"type":"array","minItems":1,)"
            R"("maxItems":{0},"items":{1}}}]}})",
            limits.max_prompts,
            fmt::format(R"({{"type":"array","minItems":1,"items":)"
                        R"({{"type":"integer","minimum":0,"maximum":{}}}}})",
                        limits.vocab_size - 1));
      },
      true);
  const Json* prompt = reader.Find("prompt");
  if (!reader.ok()) return;
  if (!prompt) {
    return reader.Fail(BadRequest("missing_required_parameter", "prompt",
                                  "Missing required parameter: 'prompt'."));
  }
  if (prompt->is_string()) {
    out.prompts.emplace_back(prompt->string_value());
    return;
  }
  if (!prompt->is_array()) {
    return reader.FailType("prompt", "a string, an array of strings, or arrays of token ids",
                           *prompt);
  }
  const Json::Array& array = prompt->array();
  if (array.empty()) return reader.FailValue("prompt", "the array must not be empty.");
  if (array[0].is_number()) {
    ReadIds(reader, limits, array, out);
    return;
  }
  if (array.size() > static_cast<size_t>(limits.max_prompts)) {
    return reader.FailValue(
        "prompt", fmt::format("at most {} prompts, got {}.", limits.max_prompts, array.size()));
  }
  const bool are_strings = array[0].is_string();
  for (const Json& entry : array) {
    if (are_strings && entry.is_string()) {
      out.prompts.emplace_back(entry.string_value());
    } else if (!are_strings && entry.is_array()) {
      if (!ReadIds(reader, limits, entry.array(), out)) return;
    } else {
      return reader.FailType("prompt", "only strings or only arrays of token ids", entry);
    }
  }
}

}  // namespace

std::optional<ApiError> ParseCompletionRequest(const Json& body, const ParseLimits& limits,
                                               CompletionRequest& out) {
  FieldReader reader(body);
  ReadCompletionRequest(reader, limits, out);
  return reader.error();
}

void ReadCompletionRequest(FieldReader& reader, const ParseLimits& limits, CompletionRequest& out) {
  GenerationParams& params = out.params;
  params.sampling.max_tokens = 16;  // OpenAI's default
  ReadGenerationParams(reader, limits, params);
  ReadPrompt(reader, limits, out);
  reader.Bool("add_special_tokens", out.add_special);
  reader.Bool("echo", out.echo);
  int32_t top = 0;
  reader.Describe("logprobs", [&] {
    return fmt::format(R"({{"anyOf":[{{"type":"boolean"}},)"
                       R"({{"type":"integer","minimum":0,"maximum":{}}}]}})",
                       limits.max_top_logprobs);
  });
  if (const Json* logprobs = reader.Find("logprobs"); logprobs && logprobs->is_bool()) {
    // Chat's form of the field, which some clients send here.
    out.logprobs = logprobs->bool_value();
  } else if (logprobs && reader.Int("logprobs", 0, limits.max_top_logprobs, top)) {
    out.logprobs = true;
  }
  if (out.logprobs) params.sampling.logprobs = top;

  out.best_of = params.n;
  if (reader.Int("best_of", 0, limits.max_choices, out.best_of)) {
    if (out.best_of == 0) out.best_of = params.n;
    if (out.best_of < params.n) {
      reader.FailValue("best_of",
                       fmt::format("must be at least n = {}, got {}.", params.n, out.best_of));
    } else if (params.stream && out.best_of > params.n) {
      reader.FailValue("best_of", "cannot be more than n when 'stream' is true.");
    }
  }
  if (reader.ok() && params.sampling.max_tokens == 0 && !out.echo) {
    reader.FailValue("max_tokens", "0 is only allowed together with 'echo'.");
  }
  if (!params.has_max_tokens && params.sampling.min_tokens > params.sampling.max_tokens) {
    reader.FailValue("min_tokens",
                     fmt::format("must not be more than max_tokens = {}, got {}.",
                                 params.sampling.max_tokens, params.sampling.min_tokens));
  }
  if (reader.ok() && out.echo && out.logprobs && params.stream) {
    reader.FailValue("echo", "log-probabilities of the prompt are not available in a stream.");
  }
  reader.RefuseUnless("suffix", "filling in the middle is not supported.", "\"\"");
}

}  // namespace rill::server::openai
