// ChatGLM 2 and 3 and the first GLM-4 9B: fused q, k, v with bias, few KV groups, RoPE of
// neighbouring pairs over half of each head, fused gate and up.
#include "model/arch/common.h"

namespace rill::model {
namespace {

void ReadHf(HfConfig& c, Description& out) {
  ReadHfSizes(c, out);
  DecoderSpec& s = out.spec;
  s.trained_context = c.Size({"seq_length", "max_position_embeddings"}, 8192);
  s.k_dim = s.v_dim = c.Size({"kv_channels"}, s.k_dim);
  if (c.Bool({"multi_query_attention"}, false)) {
    s.num_kv_heads = c.Size({"multi_query_group_num"}, 1);
  }
  s.intermediate_size = c.Size({"ffn_hidden_size"});
  s.norm.kind = c.Bool({"rmsnorm"}, true) ? NormKind::kRms : NormKind::kLayer;
  s.norm.has_bias = s.norm.kind == NormKind::kLayer;
  s.norm.eps = static_cast<float>(c.Number({"layernorm_epsilon"}, 1e-5));
  const bool bias = c.Bool({"add_bias_linear"}, false);
  s.qkv_bias = bias || c.Bool({"add_qkv_bias"}, false);
  s.o_bias = s.mlp_bias = bias;
  s.residual_from_norm = c.Bool({"apply_residual_connection_post_layernorm"}, false);
  s.final_norm = c.Bool({"post_layer_norm"}, true);
  s.tied_embedding = c.Bool({"tie_word_embeddings"}, false);
  s.rope_interleaved = true;
  RopeConfig rope;
  rope.rotary_dim = s.k_dim / 2;
  rope.theta = 10000.0 * c.Number({"rope_ratio"}, 1.0);
  UseRope(out, rope);
  WeightNames& n = out.names;
  n.embed = "transformer.embedding.word_embeddings";
  n.final_norm = "transformer.encoder.final_layernorm";
  n.lm_head = "transformer.output_layer";
  n.layer = "transformer.encoder.layers.{}.";
  n.attn_norm = "input_layernorm";
  n.ffn_norm = "post_attention_layernorm";
  n.qkv = "self_attention.query_key_value";
  n.o = "self_attention.dense";
  n.gate_up = "mlp.dense_h_to_4h";
  n.down = "mlp.dense_4h_to_h";
}

void ReadGguf(GgufConfig& g, Description& out) {
  ReadGgufLlamaLike(g, out, {.rope_interleaved = true});
  WeightNames& n = out.names;
  n.qkv = "attn_qkv";
  n.gate.clear();
  n.gate_up = "ffn_up";  // gate rows first
}

}  // namespace

const Family& ChatglmFamily() {
  static const Family kFamily = {.name = "chatglm",
                                 .hf_types = {"chatglm"},
                                 .gguf = {"chatglm"},
                                 .read_hf = ReadHf,
                                 .read_gguf = ReadGguf};
  return kFamily;
}

}  // namespace rill::model
