#include "generation.h"

#include <fmt/format.h>

namespace rill::app {

Json MakeMessages(const std::string& system, const std::string& user) {
  Json::Array messages;
  auto add = [&](const char* role, const std::string& content) {
    Json message;
    message.Set("role", role);
    message.Set("content", content);
    messages.push_back(std::move(message));
  };
  if (!system.empty()) add("system", system);
  add("user", user);
  return messages;
}

Json GenerationJson(const std::vector<int32_t>& prompt_ids, const GenerateResult& result) {
  auto ids = [](const std::vector<int32_t>& values) {
    Json::Array array;
    array.reserve(values.size());
    for (int32_t id : values) array.emplace_back(id);
    return array;
  };
  const GenerateStats& s = result.stats;
  Json stats;
  stats.Set("prompt_tokens", Json(s.prompt_tokens));
  stats.Set("output_tokens", Json(s.output_tokens));
  stats.Set("first_token_s", s.first_token_s);
  stats.Set("prompt_tokens_per_s", s.prompt_tokens_per_s);
  stats.Set("decode_tokens_per_s", s.decode_tokens_per_s);
  stats.Set("resident_mb", static_cast<double>(s.resident_bytes) / 1e6);
  Json out;
  out.Set("prompt_ids", ids(prompt_ids));
  out.Set("output_ids", ids(result.output_ids));
  out.Set("text", result.text);
  out.Set("finish_reason", result.finish_reason);
  out.Set("stats", std::move(stats));
  return out;
}

std::string StatsLine(const ModelInfo& info, const GenerateResult& result) {
  const GenerateStats& s = result.stats;
  return fmt::format(
      "[{} prompt tokens at {:.1f} tok/s | {} output tokens at {:.1f} tok/s | first token {:.3f} "
      "s, load {:.3f} s | {:.0f} MB resident | {} | {}]",
      s.prompt_tokens, s.prompt_tokens_per_s, s.output_tokens, s.decode_tokens_per_s,
      s.first_token_s, info.load_s, static_cast<double>(s.resident_bytes) / 1e6, info.backend,
      result.finish_reason);
}

}  // namespace rill::app
