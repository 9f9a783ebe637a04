// BLOOM: ALiBi, LayerNorm also after the embedding, q, k, v fused head by head, GELU (tanh form).
// Scao et al. 2022, arXiv:2211.05100.
#include <algorithm>

#include "model/arch/common.h"

namespace rill::model {
namespace {

void SetCommon(Description& out) {
  DecoderSpec& s = out.spec;
  s.norm.kind = NormKind::kLayer;
  s.norm.has_bias = true;
  s.embed_norm = true;
  s.qkv_bias = s.o_bias = s.mlp_bias = true;
  s.mlp = MlpKind::kPlain;
  s.activation = ops::ActivationKind::kGeluTanh;
  s.alibi_slopes = AlibiSlopes(s.num_heads);
  UseNoRope(out);
}

void ReadHf(HfConfig& c, Description& out) {
  ReadHfSizes(c, out);
  DecoderSpec& s = out.spec;
  s.intermediate_size = c.Size(
      {"n_inner"}, static_cast<int32_t>(std::min<int64_t>(int64_t{4} * s.hidden_size, kMaxSize)));
  s.norm.eps = static_cast<float>(c.Number({"layer_norm_epsilon"}, 1e-5));
  s.tied_embedding = c.Bool({"tie_word_embeddings"}, true);
  s.residual_from_norm = c.Bool({"apply_residual_connection_post_layernorm"}, false);
  SetCommon(out);
  WeightNames& n = out.names;
  n.embed = "transformer.word_embeddings";
  n.embed_norm = "transformer.word_embeddings_layernorm";
  n.final_norm = "transformer.ln_f";
  n.lm_head = "lm_head";
  n.layer = "transformer.h.{}.";
  n.attn_norm = "input_layernorm";
  n.ffn_norm = "post_attention_layernorm";
  n.qkv = "self_attention.query_key_value";
  n.qkv_layout = QkvLayout::kPerHead;
  n.o = "self_attention.dense";
  n.up = "mlp.dense_h_to_4h";
  n.down = "mlp.dense_4h_to_h";
}

// The converter reorders the fused rows to q, k, v.
void ReadGguf(GgufConfig& g, Description& out) {
  ReadGgufLlamaLike(g, out, {.rope = false, .layer_norm = true});
  SetCommon(out);
  out.names.embed_norm = "token_embd_norm";
  out.names.q.clear();
  out.names.qkv = "attn_qkv";
}

}  // namespace

const Family& BloomFamily() {
  static const Family kFamily = {.name = "bloom",
                                 .hf_types = {"bloom"},
                                 .gguf = {"bloom"},
                                 .read_hf = ReadHf,
                                 .read_gguf = ReadGguf};
  return kFamily;
}

}  // namespace rill::model
