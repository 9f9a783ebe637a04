// The body of a request to the OpenAI endpoints: parsed, and every parameter that is taken lies in
// its documented range.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "rill/json.h"
#include "server/openai/chat_request.h"
#include "server/openai/completion_request.h"

namespace {

using rill::server::openai::GenerationParams;
using rill::server::openai::ParseLimits;

void Expect(bool condition) {
  if (!condition) std::abort();
}

void CheckParams(const GenerationParams& params, const ParseLimits& limits) {
  const rill::SamplingParams& s = params.sampling;
  Expect(s.temperature >= 0 && s.temperature <= 2);
  Expect(s.top_p > 0 && s.top_p <= 1);
  Expect(s.min_p >= 0 && s.min_p <= 1);
  Expect(s.typical_p > 0 && s.typical_p <= 1);
  Expect(s.repetition_penalty >= 0.0099f && s.repetition_penalty <= 100);
  Expect(s.presence_penalty >= -2 && s.presence_penalty <= 2);
  Expect(s.frequency_penalty >= -2 && s.frequency_penalty <= 2);
  Expect(s.top_k >= 0 && s.top_k < limits.vocab_size);
  // -1: all that fits, when the request says nothing.
  Expect(s.max_tokens >= (params.has_max_tokens ? 0 : -1) && s.min_tokens >= 0);
  Expect(s.logprobs >= -1 && s.logprobs <= limits.max_top_logprobs);
  Expect(params.prompt_logprobs >= -1 && params.prompt_logprobs <= limits.max_top_logprobs);
  Expect(params.n >= 1 && params.n <= limits.max_choices);
  Expect(params.stop.size() <= static_cast<size_t>(limits.max_stop_strings));
  for (const std::string& stop : params.stop) Expect(!stop.empty());
  Expect(s.logit_bias.size() <= static_cast<size_t>(limits.max_logit_bias));
  for (const rill::LogitBias& bias : s.logit_bias) {
    Expect(bias.token_id >= 0 && bias.token_id < limits.vocab_size);
    Expect(bias.bias >= -100 && bias.bias <= 100);
  }
  for (int32_t id : s.stop_ids) Expect(id >= 0 && id < limits.vocab_size);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto body = rill::Json::Parse(text, "body", {.max_nodes = 1u << 16});
  if (!body.ok() || !body->is_object()) return 0;
  ParseLimits limits;
  limits.vocab_size = 1000;
  limits.max_context = 256;
  limits.template_variables = {"enable_thinking"};

  rill::server::openai::ChatRequest chat;
  if (auto error = ParseChatRequest(*body, limits, chat)) {
    Expect(error->http_status == 400 && !error->message.empty() && error->code.has_value());
    Expect(rill::Json::Parse(error->Body(), "error").ok());
  } else {
    CheckParams(chat.params, limits);
    Expect(chat.chat.messages.is_array() && !chat.chat.messages.array().empty());
    for (const rill::Json& message : chat.chat.messages.array()) {
      Expect(message.Find("role") && message.Find("role")->is_string());
      const rill::Json* content = message.Find("content");
      Expect(content && (content->is_string() || content->is_null()));
    }
  }
  rill::server::openai::CompletionRequest completion;
  if (auto error = ParseCompletionRequest(*body, limits, completion)) {
    Expect(error->http_status == 400 && !error->message.empty() && error->code.has_value());
    Expect(rill::Json::Parse(error->Body(), "error").ok());
  } else {
    CheckParams(completion.params, limits);
    Expect(!completion.prompts.empty());
    Expect(completion.best_of >= completion.params.n && completion.best_of <= limits.max_choices);
    for (const auto& prompt : completion.prompts) {
      const auto* ids = std::get_if<std::vector<int32_t>>(&prompt);
      if (!ids) continue;
      Expect(!ids->empty() && ids->size() < static_cast<size_t>(limits.max_context));
      for (int32_t id : *ids) Expect(id >= 0 && id < limits.vocab_size);
    }
  }
  return 0;
}
