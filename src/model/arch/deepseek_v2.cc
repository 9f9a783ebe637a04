// DeepSeek-V2 and V3: latent attention, dense first layers, then a mixture with shared experts
// (arXiv:2405.04434). V3 routes by sigmoid scores with a correction (arXiv:2412.19437).
#include <algorithm>
#include <cmath>

#include "model/arch/common.h"

namespace rill::model {
namespace {

void SetMla(DecoderSpec& s) {
  s.num_kv_heads = s.num_heads;  // keys and values are decompressed for every head
  s.rope_interleaved = true;
}

void ReadMoe(HfConfig& c, Description& out) {
  DecoderSpec& s = out.spec;
  MoeSpec& moe = s.moe;
  const bool v3 = c.Text({"model_type"}, "deepseek_v2") == "deepseek_v3";
  moe.num_experts = c.OptionalInt({"n_routed_experts"}, v3 ? 256 : 64);
  if (moe.num_experts == 0) return;
  moe.top_k = c.Size({"num_experts_per_tok"});
  moe.intermediate_size = c.Size({"moe_intermediate_size"});
  moe.shared_intermediate_size = static_cast<int32_t>(std::min<int64_t>(
      int64_t{c.OptionalInt({"n_shared_experts"}, v3 ? 1 : 2)} * moe.intermediate_size, kMaxSize));
  moe.scale = static_cast<float>(c.Number({"routed_scaling_factor"}, v3 ? 2.5 : 1.0));
  // DeepSeek-V2 never divides by the sum: norm_topk_prob is false in every released model.
  moe.normalize = c.Bool({"norm_topk_prob"}, v3);
  if (moe.normalize && !v3) {
    c.Fail(Unsupported(c.culprit() + ": norm_topk_prob: true is not supported for deepseek_v2"));
  }
  const std::string method = c.Text({"topk_method"}, v3 ? "noaux_tc" : "greedy");
  if (v3) {
    moe.sigmoid = moe.correction_bias = moe.group_score_top2 = true;
    out.names.router_correction = "mlp.gate.e_score_correction_bias";
  }
  if (method == "group_limited_greedy" || v3) {
    moe.num_groups = std::max(1, c.OptionalInt({"n_group"}, v3 ? 8 : 1));
    moe.top_groups = std::max(1, c.OptionalInt({"topk_group"}, v3 ? 4 : 1));
  } else if (method != "greedy") {
    c.Fail(Unsupported(c.culprit() +
                       ": topk_method: expected greedy or group_limited_greedy, got " +
                       method.substr(0, 64)));
  }
  const int32_t dense = c.Int({"first_k_dense_replace"}, v3 ? 3 : 0);
  const int32_t step = c.Size({"moe_layer_freq"}, 1);
  for (int32_t i = 0; i < s.num_layers; ++i) {
    s.layers[static_cast<size_t>(i)].moe = i >= dense && i % step == 0;
  }
  WeightNames& n = out.names;
  n.router = "mlp.gate";
  n.expert_gate = "mlp.experts.{}.gate_proj";
  n.expert_up = "mlp.experts.{}.up_proj";
  n.expert_down = "mlp.experts.{}.down_proj";
  n.shared_gate = "mlp.shared_experts.gate_proj";
  n.shared_up = "mlp.shared_experts.up_proj";
  n.shared_down = "mlp.shared_experts.down_proj";
}

void ReadHf(HfConfig& c, Description& out) {
  ReadHfLlamaLike(c, out);
  DecoderSpec& s = out.spec;
  s.mla.q_lora_rank = c.OptionalInt({"q_lora_rank"}, 1536);
  s.mla.kv_lora_rank = c.Size({"kv_lora_rank"});
  s.mla.nope_dim = c.Size({"qk_nope_head_dim"});
  s.mla.rope_dim = c.Size({"qk_rope_head_dim"});
  s.k_dim =
      static_cast<int32_t>(std::min<int64_t>(int64_t{s.mla.nope_dim} + s.mla.rope_dim, kMaxSize));
  s.v_dim = c.Size({"v_head_dim"});
  SetMla(s);
  s.rope_interleaved = c.Bool({"rope_interleave"}, true);
  s.qkv_bias = s.o_bias = c.Bool({"attention_bias"}, false);
  const RopeConfig rope = ReadHfRope(c, s, {.rotary_dim = s.mla.rope_dim});
  s.score_scale = 1.0f / std::sqrt(static_cast<float>(s.k_dim));
  if (rope.scaling == RopeScaling::kYarn && rope.mscale_all_dim != 0) {
    const double m = YarnMscale(rope.factor, rope.mscale_all_dim);
    s.score_scale *= static_cast<float>(m * m);
  }
  UseRope(out, rope);
  ReadMoe(c, out);
  WeightNames& n = out.names;
  n.q_a = "self_attn.q_a_proj";
  n.q_a_norm = "self_attn.q_a_layernorm";
  n.q_b = "self_attn.q_b_proj";
  n.kv_a = "self_attn.kv_a_proj_with_mqa";
  n.kv_a_norm = "self_attn.kv_a_layernorm";
  n.kv_b = "self_attn.kv_b_proj";
}

// Files have attn_kv_b in one piece or, newer ones, split for absorbed attention: attn_k_b (turned)
// and attn_v_b. The latter's key_length is that of the latent row, key_length_mla a head's.
void ReadGguf(GgufConfig& g, Description& out) {
  ReadGgufLlamaLike(g, out, {.rope_interleaved = true});
  DecoderSpec& s = out.spec;
  s.mla.q_lora_rank = g.Int("attention.q_lora_rank", 0);
  s.mla.kv_lora_rank = g.Size("attention.kv_lora_rank");
  s.k_dim = g.Size("attention.key_length_mla", s.k_dim);
  s.v_dim = g.Size("attention.value_length_mla", s.v_dim);
  s.mla.rope_dim = g.Size("rope.dimension_count");
  s.mla.nope_dim = s.k_dim - s.mla.rope_dim;
  if (s.mla.nope_dim < 1) {
    g.Fail(InvalidArgument(g.source().path + ": rope.dimension_count: expected less than "
                                             "attention.key_length"));
    s.mla.nope_dim = 1;
  }
  SetMla(s);
  s.moe.shared_intermediate_size = static_cast<int32_t>(std::min<int64_t>(
      int64_t{g.Int("expert_shared_count", 0)} * s.moe.intermediate_size, kMaxSize));
  s.score_scale = 1.0f / std::sqrt(static_cast<float>(s.k_dim));
  RopeConfig& rope = out.ropes[0];
  if (rope.scaling == RopeScaling::kYarn) {
    rope.attention_factor = 1.0;
    const double m = 1 + g.Number("rope.scaling.yarn_log_multiplier", 0.0) * std::log(rope.factor);
    s.score_scale *= static_cast<float>(m * m);
  }
  WeightNames& n = out.names;
  n.q_a = "attn_q_a";
  n.q_a_norm = "attn_q_a_norm";
  n.q_b = "attn_q_b";
  n.kv_a = "attn_kv_a_mqa";
  n.kv_a_norm = "attn_kv_a_norm";
  n.kv_b = "attn_kv_b";
  n.k_b = "attn_k_b";
  n.v_b = "attn_v_b";
}

}  // namespace

const Family& DeepseekV2Family() {
  static const Family kFamily = {.name = "deepseek_v2",
                                 .hf_types = {"deepseek_v2", "deepseek_v3"},
                                 .gguf = {"deepseek2"},
                                 .read_hf = ReadHf,
                                 .read_gguf = ReadGguf};
  return kFamily;
}

}  // namespace rill::model
