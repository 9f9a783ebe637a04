#include "model/spec_check.h"

#include <fmt/format.h>

#include <cmath>

namespace rill::model {
namespace {

struct Bound {
  const char* name;
  int64_t value, low, high;
};

Status CheckFloat(const char* name, float value, bool positive) {
  if (std::isfinite(value) && (!positive || value > 0)) return OkStatus();
  return InvalidArgument(
      fmt::format("{}: expected a finite number{}, got {}", name, positive ? " > 0" : "", value));
}

}  // namespace

Status CheckSpec(const DecoderSpec& spec, int64_t num_tensors) {
  const Bound bounds[] = {
      {"number of layers", spec.num_layers, 1, 4096},
      {"hidden size", spec.hidden_size, 1, 1 << 20},
      {"intermediate size", spec.intermediate_size, spec.moe.num_experts > 0 ? 0 : 1, 1 << 22},
      {"number of heads", spec.num_heads, 1, kMaxHeads},
      {"number of KV heads", spec.num_kv_heads, 1, spec.num_heads},
      {"head dimension", spec.k_dim, 1, 1 << 14},
      {"value head dimension", spec.v_dim, 1, 1 << 14},
      {"vocabulary size", spec.vocab_size, 1, 1 << 24},
      {"maximum context", spec.max_context, 1, 1 << 28},
      {"number of experts", spec.moe.num_experts, 0, 1 << 14},
      {"experts per token", spec.moe.top_k, 0, spec.moe.num_experts},
      {"expert intermediate size", spec.moe.intermediate_size, spec.moe.num_experts > 0, 1 << 22},
      {"shared expert intermediate size", spec.moe.shared_intermediate_size, 0, 1 << 22},
      {"kv_lora_rank", spec.mla.kv_lora_rank, 0, 1 << 20},
      {"embedding width", spec.embed_dim, 0, 1 << 20},
      {"q_lora_rank", spec.mla.q_lora_rank, 0, 1 << 20},
  };
  for (const Bound& b : bounds) {
    if (b.value < b.low || b.value > b.high) {
      return InvalidArgument(
          fmt::format("{}: expected [{}, {}], got {}", b.name, b.low, b.high, b.value));
    }
  }
  if (spec.num_heads % spec.num_kv_heads != 0) {
    return InvalidArgument(
        fmt::format("number of heads: expected a multiple of the {} KV heads, got {}",
                    spec.num_kv_heads, spec.num_heads));
  }
  // Each layer has several tensors; a file without any (a vocabulary) is not a network.
  if (num_tensors < spec.num_layers) {
    return InvalidArgument(fmt::format("number of layers: {} layers, but the file has {} tensors",
                                       spec.num_layers, num_tensors));
  }
  if (spec.moe.num_experts > 0 && spec.moe.top_k < 1) {
    return InvalidArgument("experts per token: expected at least 1, got 0");
  }
  if (spec.moe.num_groups < 1 || spec.moe.top_groups < 1 ||
      spec.moe.top_groups > spec.moe.num_groups ||
      (spec.moe.num_experts > 0 && spec.moe.num_experts % spec.moe.num_groups != 0)) {
    return InvalidArgument(fmt::format("expert groups: {} of {} groups do not fit {} experts",
                                       spec.moe.top_groups, spec.moe.num_groups,
                                       spec.moe.num_experts));
  }
  RILL_RETURN_IF_ERROR(CheckFloat("norm epsilon", spec.norm.eps, true));
  if (spec.norm.eps > 1) {
    return InvalidArgument(
        fmt::format("norm epsilon: expected a number in (0, 1], got {}", spec.norm.eps));
  }
  RILL_RETURN_IF_ERROR(CheckFloat("embedding scale", spec.embed_scale, false));
  RILL_RETURN_IF_ERROR(CheckFloat("residual multiplier", spec.residual_scale, false));
  RILL_RETURN_IF_ERROR(CheckFloat("attention scale", spec.score_scale, false));
  RILL_RETURN_IF_ERROR(CheckFloat("attention softcap", spec.attn_softcap, false));
  RILL_RETURN_IF_ERROR(CheckFloat("logit scale", spec.logit_scale, false));
  RILL_RETURN_IF_ERROR(CheckFloat("logit softcap", spec.logit_softcap, false));
  RILL_RETURN_IF_ERROR(CheckFloat("expert scale", spec.moe.scale, false));
  if (spec.attn_softcap < 0 || spec.logit_softcap < 0) {
    return InvalidArgument("softcap: expected a number >= 0");
  }
  // 0 is "none"; the operator takes no smaller bound than 1e-6.
  RILL_RETURN_IF_ERROR(CheckFloat("clip_qkv", spec.qkv_clamp, false));
  if (spec.qkv_clamp != 0 && (spec.qkv_clamp < 1e-6f || spec.qkv_clamp > 1e9f)) {
    return InvalidArgument(
        fmt::format("clip_qkv: expected a number in [1e-6, 1e9], got {}", spec.qkv_clamp));
  }
  if (spec.layers.size() != static_cast<size_t>(spec.num_layers)) {
    return Internal(fmt::format("family '{}' described {} of {} layers", spec.family,
                                spec.layers.size(), spec.num_layers));
  }
  return OkStatus();
}

Status CheckLayers(const DecoderSpec& spec) {
  const int32_t rotated = spec.mla.kv_lora_rank > 0 ? spec.mla.rope_dim : spec.k_dim;
  for (const RopeSpec& rope : spec.ropes) {
    if (rope.rotary_dim() > rotated) {
      return InvalidArgument(
          fmt::format("rotary dimension: expected at most {}, got {}", rotated, rope.rotary_dim()));
    }
  }
  for (const LayerSpec& layer : spec.layers) {
    if (layer.rope >= static_cast<int32_t>(spec.ropes.size()) || layer.window < 0 ||
        !std::isfinite(layer.score_scale)) {
      return Internal(fmt::format("family '{}' described a layer wrongly", spec.family));
    }
  }
  if (!spec.alibi_slopes.empty() &&
      spec.alibi_slopes.size() != static_cast<size_t>(spec.num_heads)) {
    return Internal("ALiBi needs one slope for each head");
  }
  return OkStatus();
}

}  // namespace rill::model
