#include "sampling/validate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace rill::sampling {
namespace {

// The float range check that NaN fails.
bool InRange(float value, float low, float high) {
  return value >= low && value <= high;
}

Status BadNumber(const char* field, const char* range, double value) {
  return InvalidArgument(fmt::format("{}: expected a number in {}, got {}", field, range, value));
}

}  // namespace

Status ValidateSampling(const SamplingParams& params, int32_t vocab_size) {
  if (!InRange(params.temperature, 0.0f, 100.0f)) {
    return BadNumber("temperature", "[0, 100]", params.temperature);
  }
  if (params.top_k < 0) {
    return InvalidArgument(fmt::format("top_k: expected 0 (off) or more, got {}", params.top_k));
  }
  if (!InRange(params.top_p, 0.0f, 1.0f) || params.top_p == 0.0f) {
    return BadNumber("top_p", "(0, 1]", params.top_p);
  }
  if (!InRange(params.min_p, 0.0f, 1.0f)) return BadNumber("min_p", "[0, 1]", params.min_p);
  if (!InRange(params.typical_p, 0.0f, 1.0f) || params.typical_p == 0.0f) {
    return BadNumber("typical_p", "(0, 1]", params.typical_p);
  }
  if (!InRange(params.repetition_penalty, 0.01f, 100.0f)) {
    return BadNumber("repetition_penalty", "[0.01, 100]", params.repetition_penalty);
  }
  if (!InRange(params.presence_penalty, -2.0f, 2.0f)) {
    return BadNumber("presence_penalty", "[-2, 2]", params.presence_penalty);
  }
  if (!InRange(params.frequency_penalty, -2.0f, 2.0f)) {
    return BadNumber("frequency_penalty", "[-2, 2]", params.frequency_penalty);
  }
  if (params.max_tokens < 0) {
    return InvalidArgument(
        fmt::format("max_tokens: expected 0 or more, got {}", params.max_tokens));
  }
  if (params.min_tokens < 0 || params.min_tokens > params.max_tokens) {
    return InvalidArgument(fmt::format("min_tokens: expected 0 to max_tokens = {}, got {}",
                                       params.max_tokens, params.min_tokens));
  }
  if (params.stop_ids.size() > static_cast<size_t>(SamplingParams::kMaxStopIds)) {
    return InvalidArgument(fmt::format("stop_ids: expected at most {} entries, got {}",
                                       SamplingParams::kMaxStopIds, params.stop_ids.size()));
  }
  for (int32_t id : params.stop_ids) {
    if (id < 0 || id >= vocab_size) {
      return InvalidArgument(
          fmt::format("stop_ids: expected token ids in [0, {}), got {}", vocab_size, id));
    }
  }
  if (params.logprobs < -1 || params.logprobs > SamplingParams::kMaxLogprobs) {
    return InvalidArgument(fmt::format("logprobs: expected -1 (none) or 0 to {}, got {}",
                                       SamplingParams::kMaxLogprobs, params.logprobs));
  }
  if (params.logit_bias.size() > static_cast<size_t>(SamplingParams::kMaxLogitBias)) {
    return InvalidArgument(fmt::format("logit_bias: expected at most {} entries, got {}",
                                       SamplingParams::kMaxLogitBias, params.logit_bias.size()));
  }
  std::vector<int32_t> ids;
  for (const LogitBias& entry : params.logit_bias) {
    if (entry.token_id < 0 || entry.token_id >= vocab_size) {
      return InvalidArgument(fmt::format("logit_bias: expected token ids in [0, {}), got {}",
                                         vocab_size, entry.token_id));
    }
    if (!InRange(entry.bias, -100.0f, 100.0f)) {
      return InvalidArgument(
          fmt::format("logit_bias: token {}: expected a number in [-100, 100], got {}",
                      entry.token_id, entry.bias));
    }
    ids.push_back(entry.token_id);
  }
  std::sort(ids.begin(), ids.end());
  const auto twice = std::adjacent_find(ids.begin(), ids.end());
  if (twice != ids.end()) {
    return InvalidArgument(fmt::format("logit_bias: token {} is given twice", *twice));
  }
  return OkStatus();
}

}  // namespace rill::sampling
