// GPT-NeoX and Pythia: LayerNorm, partial RoPE, q, k, v fused head by head, parallel residual.
// Black et al. 2022, arXiv:2204.06745.
#include "model/arch/common.h"

namespace rill::model {
namespace {

void ReadHf(HfConfig& c, Description& out) {
  ReadHfSizes(c, out);
  DecoderSpec& s = out.spec;
  s.num_kv_heads = s.num_heads;
  s.intermediate_size = c.Size({"intermediate_size"});
  s.norm.kind = NormKind::kLayer;
  s.norm.has_bias = true;
  s.norm.eps = static_cast<float>(c.Number({"layer_norm_eps"}, 1e-5));
  s.qkv_bias = s.o_bias = c.Bool({"attention_bias"}, true);
  s.mlp_bias = true;
  s.mlp = MlpKind::kPlain;
  s.activation = c.Activation({"hidden_act"}, "gelu");
  s.tied_embedding = c.Bool({"tie_word_embeddings"}, false);
  s.residual =
      c.Bool({"use_parallel_residual"}, true) ? Residual::kParallel : Residual::kSequential;
  UseRope(out, ReadHfRope(c, s, {.partial = 0.25}));
  WeightNames& n = out.names;
  n.embed = "gpt_neox.embed_in";
  n.final_norm = "gpt_neox.final_layer_norm";
  n.lm_head = "embed_out";
  n.layer = "gpt_neox.layers.{}.";
  n.attn_norm = "input_layernorm";
  n.ffn_norm = "post_attention_layernorm";
  n.qkv = "attention.query_key_value";
  n.qkv_layout = QkvLayout::kPerHead;
  n.o = "attention.dense";
  n.up = "mlp.dense_h_to_4h";
  n.down = "mlp.dense_4h_to_h";
}

// The converter reorders the fused rows to q, k, v.
void ReadGguf(GgufConfig& g, Description& out) {
  ReadGgufLlamaLike(g, out, {.layer_norm = true});
  DecoderSpec& s = out.spec;
  s.mlp = MlpKind::kPlain;
  s.activation = ops::ActivationKind::kGelu;
  s.residual = g.Bool("use_parallel_residual", true) ? Residual::kParallel : Residual::kSequential;
  out.names.q.clear();
  out.names.qkv = "attn_qkv";
}

}  // namespace

const Family& GptNeoxFamily() {
  static const Family kFamily = {.name = "gpt_neox",
                                 .hf_types = {"gpt_neox"},
                                 .gguf = {"gptneox"},
                                 .read_hf = ReadHf,
                                 .read_gguf = ReadGguf};
  return kFamily;
}

}  // namespace rill::model
