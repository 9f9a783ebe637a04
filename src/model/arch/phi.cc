// Phi 1, 1.5 and 2: one LayerNorm before parallel attention and feed-forward, partial RoPE, biases
// everywhere, also on the LM head.
#include "model/arch/common.h"

namespace rill::model {
namespace {

void SetCommon(DecoderSpec& s) {
  s.norm.kind = NormKind::kLayer;
  s.norm.has_bias = true;
  s.qkv_bias = s.o_bias = s.mlp_bias = s.lm_head_bias = true;
  s.mlp = MlpKind::kPlain;
  s.residual = Residual::kParallel;
  s.shared_norm = true;
}

void ReadHf(HfConfig& c, Description& out) {
  ReadHfSizes(c, out);
  DecoderSpec& s = out.spec;
  SetCommon(s);
  s.intermediate_size = c.Size({"intermediate_size"});
  s.norm.eps = static_cast<float>(c.Number({"layer_norm_eps"}, 1e-5));
  s.activation = c.Activation({"hidden_act"}, "gelu_new");
  s.tied_embedding = c.Bool({"tie_word_embeddings"}, false);
  s.qk_norm = c.Bool({"qk_layernorm"}, false) ? QkNorm::kPerHead : QkNorm::kNone;
  s.qk_norm_spec = s.norm;
  UseRope(out, ReadHfRope(c, s, {.partial = 0.5}));
  out.names = HfLlamaNames();
  out.names.final_norm = "model.final_layernorm";
  out.names.o = "self_attn.dense";
  out.names.q_norm = "self_attn.q_layernorm";
  out.names.k_norm = "self_attn.k_layernorm";
  out.names.up = "mlp.fc1";
  out.names.down = "mlp.fc2";
}

void ReadGguf(GgufConfig& g, Description& out) {
  ReadGgufLlamaLike(g, out, {.layer_norm = true});
  SetCommon(out.spec);
  out.spec.activation = ops::ActivationKind::kGeluTanh;
  if (g.HasTensor("blk.0.attn_qkv.weight")) {
    out.names.q.clear();
    out.names.qkv = "attn_qkv";
  }
}

}  // namespace

const Family& PhiFamily() {
  static const Family kFamily = {.name = "phi",
                                 .hf_types = {"phi"},
                                 .gguf = {"phi2"},
                                 .read_hf = ReadHf,
                                 .read_gguf = ReadGguf};
  return kFamily;
}

}  // namespace rill::model
