#include "server/openai/generation_params.h"

#include <fmt/format.h>

#include <algorithm>
#include <cfloat>
#include <charconv>
#include <limits>

namespace rill::server::openai {
namespace {

constexpr size_t kMaxModelName = 512;
constexpr size_t kMaxStopBytes = 64u << 10;
constexpr size_t kMaxAllStopBytes = 1u << 20;
constexpr size_t kMaxSaltBytes = 256;
constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();

void ReadStop(FieldReader& reader, const ParseLimits& limits, std::vector<std::string>& out) {
  reader.Describe("stop", [&] {
    return fmt::format(R"({{"anyOf":[{{"type":"string","minLength":1}},)"
                       R"({{"type":"array","maxItems":{},)"
                       R"("items":{{"type":"string","minLength":1}}}}]}})",
                       limits.max_stop_strings);
  });
  const Json* stop = reader.Find("stop");
  if (!stop) return;
  size_t all_bytes = 0;
  auto add = [&](const Json& value) {
    if (!value.is_string())
      return reader.FailType("stop", "a string or an array of strings", value);
    const std::string& text = value.string_value();
    if (text.empty()) return reader.FailValue("stop", "a stop string must not be empty.");
    if (text.size() > kMaxStopBytes) {
      return reader.FailValue("stop", fmt::format("a stop string has at most {} bytes, got {}.",
                                                  kMaxStopBytes, text.size()));
    }
    all_bytes += text.size();
    if (all_bytes > kMaxAllStopBytes) {
      return reader.FailValue("stop", fmt::format("at most {} bytes in all.", kMaxAllStopBytes));
    }
    out.push_back(text);
  };
  if (!stop->is_array()) return add(*stop);
  if (stop->array().size() > static_cast<size_t>(limits.max_stop_strings)) {
    return reader.FailValue("stop", fmt::format("at most {} stop strings, got {}.",
                                                limits.max_stop_strings, stop->array().size()));
  }
  for (const Json& value : stop->array()) {
    if (reader.ok()) add(value);
  }
}

void ReadLogitBias(FieldReader& reader, const ParseLimits& limits, std::vector<LogitBias>& out) {
  reader.Describe("logit_bias", [&] {
    return fmt::format(R"({{"type":"object","maxProperties":{},"description":"By token id.",)"
                       R"("propertyNames":{{"pattern":"^[0-9]+$"}},"additionalProperties":)"
                       R"({{"type":"number","minimum":-100,"maximum":100}}}})",
                       limits.max_logit_bias);
  });
  const Json* bias = reader.Find("logit_bias");
  if (!bias) return;
  if (!bias->is_object()) return reader.FailType("logit_bias", "an object", *bias);
  if (bias->object().size() > static_cast<size_t>(limits.max_logit_bias)) {
    return reader.FailValue(
        "logit_bias",
        fmt::format("at most {} entries, got {}.", limits.max_logit_bias, bias->object().size()));
  }
  for (const auto& [key, value] : bias->object()) {
    uint32_t id = 0;  // unsigned: "-0" is no id
    const auto [end, code] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (code != std::errc() || end != key.data() + key.size() ||
        id >= static_cast<uint32_t>(limits.vocab_size)) {
      return reader.FailValue(
          "logit_bias", fmt::format("expected token ids in [0, {}) as keys.", limits.vocab_size));
    }
    if (!value.is_number()) return reader.FailType("logit_bias", "a number for each id", value);
    const double number = value.number_value();
    if (!(number >= -100 && number <= 100)) {
      return reader.FailValue(
          "logit_bias",
          fmt::format("token {}: expected a number in [-100, 100], got {}.", id, value.Dump()));
    }
    out.push_back({static_cast<int32_t>(id), static_cast<float>(number)});
  }
  // "1" and "01" are two keys of one id.
  std::sort(out.begin(), out.end(),
            [](const LogitBias& a, const LogitBias& b) { return a.token_id < b.token_id; });
  for (size_t i = 1; i < out.size(); ++i) {
    if (out[i].token_id == out[i - 1].token_id) {
      return reader.FailValue("logit_bias",
                              fmt::format("token {} is given twice.", out[i].token_id));
    }
  }
}

void ReadMaxTokens(FieldReader& reader, GenerationParams& out) {
  // The newer name wins where both are given.
  int32_t legacy = 0, current = 0;
  const bool has_legacy = reader.Int("max_tokens", 0, kMaxInt32, legacy);
  const bool has_current = reader.Int("max_completion_tokens", 0, kMaxInt32, current);
  if (!has_legacy && !has_current) return;
  out.has_max_tokens = true;
  out.sampling.max_tokens = has_current ? current : legacy;
}

void ReadStreamOptions(FieldReader& reader, GenerationParams& out) {
  reader.Bool("stream", out.stream);
  const bool has_options = reader.Object("stream_options", [&](FieldReader& inner) {
    inner.Bool("include_usage", out.include_usage);
    inner.Bool("continuous_usage_stats", out.continuous_usage);
    bool obfuscation = false;  // padding against traffic analysis: accepted, not done
    inner.Bool("include_obfuscation", obfuscation);
  });
  out.continuous_usage = out.continuous_usage && out.include_usage;  // as in vLLM
  if (has_options && !out.stream) {
    reader.FailValue("stream_options", "only allowed when 'stream' is true.");
  }
}

// Its clients send them all, most of them off. What belongs to one that is off means nothing
// (mirostat_tau, dry_base, xtc_threshold, …): ignored.
void RefuseSamplersOfLlamaServer(FieldReader& reader) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  reader.RefuseOutside("repeat_penalty", "use 'repetition_penalty', which has no window.", 1, 1);
  for (const char* key :
       {"mirostat", "dry_multiplier", "xtc_probability", "top_n_sigma", "dynatemp_range"}) {
    reader.RefuseOutside(key, "this sampler is not supported.", -kInfinity, 0);
  }
  reader.RefuseUnless("samplers", "the order of samplers is fixed.");
  reader.RefuseUnless("lora", "adapters are not supported.", "[]");
}

// What would change the answer's meaning and is not there: refused, never ignored.
void RefuseWhatIsMissing(FieldReader& reader) {
  reader.RefuseUnless("use_beam_search", "beam search is not supported.", "false");
  reader.RefuseOutside("length_penalty", "beam search is not supported.", 1, 1);
  reader.RefuseUnless("prompt_embeds", "embeddings are not accepted as a prompt.");
  reader.RefuseUnless("truncate_prompt_tokens", "prompts are never cut.");
  constexpr std::string_view kConstrained = "constrained output is not supported yet.";
  for (const char* key : {"structured_outputs", "structural_tag", "grammar", "json_schema"}) {
    reader.RefuseUnless(key, kConstrained);
  }
  reader.RefusePrefix("guided_", kConstrained);
  reader.RefuseUnless("tools", "tools are not supported yet.", "[]");
  reader.RefuseUnless("functions", "tools are not supported yet.", "[]");
  reader.Describe("tool_choice", R"({"enum":["none","auto"]})");
  if (const Json* choice = reader.Find("tool_choice")) {
    const bool harmless = choice->is_string() &&
                          (choice->string_value() == "none" || choice->string_value() == "auto");
    if (!harmless) {
      reader.Fail(UnsupportedParameter(
          "tool_choice", "Unsupported parameter: 'tool_choice': tools are not supported yet."));
    }
  }
  reader.RefuseUnless("function_call", "tools are not supported yet.", "\"none\"");
  reader.RefuseUnless("audio", "audio output is not supported.");
  reader.RefuseUnless("modalities", "only text is supported.", "[\"text\"]");
  reader.RefuseUnless("web_search_options", "web search is not supported.");
  reader.RefuseUnless("kv_transfer_params", "prefill and decode on two servers is not supported.");
  reader.RefuseUnless("allowed_token_ids", "not supported yet.");
  reader.RefuseUnless("bad_words", "not supported yet.", "[]");
  reader.RefuseUnless("logits_processors", "not supported.");
  reader.RefuseUnless("thinking_token_budget", "thinking is not told apart from the answer.");
  reader.RefuseUnless("repetition_detection", "not supported.");
  reader.RefuseUnless("vllm_xargs", "not supported.", "{}");
  RefuseSamplersOfLlamaServer(reader);
  reader.Describe(
      "response_format",
      R"({"type":"object","properties":{"type":{"enum":["text"]}},"required":["type"]})");
  if (const Json* format = reader.Find("response_format")) {
    const Json* type = format->is_object() ? format->Find("type") : nullptr;
    if (!format->is_object()) {
      reader.FailType("response_format", "an object", *format);
    } else if (!type || !type->is_string()) {
      reader.FailValue("response_format.type", "expected a string.");
    } else if (type->string_value() != "text") {
      reader.Fail(UnsupportedParameter(
          "response_format",
          "Unsupported parameter: 'response_format': only the type 'text' is supported yet."));
    }
  }
}

}  // namespace

ApiError ContextLengthExceeded(std::string param, int64_t max_context, int64_t prompt_tokens) {
  return BadRequest("context_length_exceeded", std::move(param),
                    fmt::format("This model's maximum context length is {} tokens. However, your "
                                "prompt has {} tokens.",
                                max_context, prompt_tokens));
}

void DescribeTokenIds(FieldReader& reader, std::string_view key, int32_t vocab_size,
                      size_t max_size, bool required) {
  auto schema = [&] {
    return fmt::format(R"({{"type":"array","maxItems":{},"items":)"
                       R"({{"type":"integer","minimum":0,"maximum":{}}}}})",
                       max_size, vocab_size - 1);
  };
  reader.Describe(key, schema, required);
}

bool ReadTokenIds(FieldReader& reader, std::string_view param, const Json::Array& array,
                  int32_t vocab_size, size_t max_size, std::vector<int32_t>& out) {
  if (array.size() > max_size) {
    reader.FailValue(param, fmt::format("at most {} token ids, got {}.", max_size, array.size()));
    return false;
  }
  out.clear();
  out.reserve(array.size());
  for (size_t i = 0; i < array.size(); ++i) {
    const std::optional<int64_t> id = AsInteger(array[i]);
    if (!id) {
      if (array[i].is_number()) {
        reader.FailValue(param,
                         fmt::format("entry {}: expected a token id in [0, {}).", i, vocab_size));
      } else {
        reader.FailType(reader.ParamName(param), "an array of token ids", array[i]);
      }
      return false;
    }
    if (*id < 0 || *id >= vocab_size) {
      reader.FailValue(param, fmt::format("entry {}: expected a token id in [0, {}), got {}.", i,
                                          vocab_size, *id));
      return false;
    }
    out.push_back(static_cast<int32_t>(*id));
  }
  return true;
}

void ReadGenerationParams(FieldReader& reader, const ParseLimits& limits, GenerationParams& out) {
  reader.String("model", kMaxModelName, out.model);
  SamplingParams& sampling = out.sampling;
  reader.Number("temperature", 0, 2, sampling.temperature);
  // OpenAI allows top_p = 0, which means the likeliest token; a probability just above 0 does that.
  if (reader.Number("top_p", 0, 1, sampling.top_p)) {
    sampling.top_p = std::max(sampling.top_p, FLT_MIN);
  }
  int64_t top_k = 0;
  if (reader.Int("top_k", -1, std::numeric_limits<int64_t>::max(), top_k)) {
    // -1 and 0: all, and so is anything beyond the vocabulary.
    sampling.top_k = top_k <= 0 || top_k >= limits.vocab_size ? 0 : static_cast<int32_t>(top_k);
  }
  reader.Number("min_p", 0, 1, sampling.min_p);
  if (reader.Number("typical_p", 0, 1, sampling.typical_p)) {
    sampling.typical_p = std::max(sampling.typical_p, FLT_MIN);
  }
  reader.Number("repetition_penalty", 0.01, 100, sampling.repetition_penalty);
  reader.Number("presence_penalty", -2, 2, sampling.presence_penalty);
  reader.Number("frequency_penalty", -2, 2, sampling.frequency_penalty);
  int64_t seed = 0;
  if (reader.Int("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max(),
                 seed)) {
    sampling.seed = static_cast<uint64_t>(seed);
  }
  ReadLogitBias(reader, limits, sampling.logit_bias);
  ReadMaxTokens(reader, out);
  if (reader.Int("min_tokens", 0, kMaxInt32, sampling.min_tokens) && out.has_max_tokens &&
      sampling.min_tokens > sampling.max_tokens) {
    reader.FailValue("min_tokens", fmt::format("must not be more than max_tokens = {}, got {}.",
                                               sampling.max_tokens, sampling.min_tokens));
  }
  reader.Bool("ignore_eos", sampling.ignore_eos);
  DescribeTokenIds(reader, "stop_token_ids", limits.vocab_size, SamplingParams::kMaxStopIds);
  if (const Json* ids = reader.Find("stop_token_ids")) {
    if (!ids->is_array()) {
      reader.FailType("stop_token_ids", "an array of token ids", *ids);
    } else {
      ReadTokenIds(reader, "stop_token_ids", ids->array(), limits.vocab_size,
                   SamplingParams::kMaxStopIds, sampling.stop_ids);
    }
  }
  ReadStop(reader, limits, out.stop);
  reader.Bool("include_stop_str_in_output", out.include_stop_string);
  reader.Bool("skip_special_tokens", out.skip_special);
  bool spaces = true;  // of slow tokenizers; nothing here depends on it
  reader.Bool("spaces_between_special_tokens", spaces);
  reader.Int("n", 1, limits.max_choices, out.n);
  int64_t priority = 0;
  if (reader.Int("priority", -kMaxInt32, kMaxInt32, priority)) {
    out.priority = static_cast<int32_t>(-priority);
  }
  reader.String("cache_salt", kMaxSaltBytes, out.cache_salt);
  reader.Describe("cache_salt", [] {
    return fmt::format(R"({{"type":"string","minLength":1,"maxLength":{}}})", kMaxSaltBytes);
  });
  if (reader.Has("cache_salt") && out.cache_salt.empty() && reader.ok()) {
    reader.FailValue("cache_salt", "must not be empty.");
  }
  reader.Int("prompt_logprobs", 0, limits.max_top_logprobs, out.prompt_logprobs);
  reader.Bool("return_token_ids", out.return_token_ids);
  reader.Bool("return_tokens_as_token_ids", out.tokens_as_ids);
  ReadStreamOptions(reader, out);
  RefuseWhatIsMissing(reader);
  if (reader.ok() && out.stream && out.prompt_logprobs >= 0) {
    reader.FailValue("prompt_logprobs", "not available when 'stream' is true.");
  }
}

}  // namespace rill::server::openai
