// BERT encoder: post-norm layers, no causal mask, learned positions and token types; gives hidden
// states (Devlin et al. 2018, arXiv:1810.04805).
#include "model/arch/common.h"

namespace rill::model {
namespace {

void ReadHf(HfConfig& c, Description& out) {
  ReadHfSizes(c, out);
  DecoderSpec& s = out.spec;
  s.is_encoder = true;
  s.intermediate_size = c.Size({"intermediate_size"});
  s.norm.kind = NormKind::kLayer;
  s.norm.has_bias = true;
  s.norm.eps = static_cast<float>(c.Number({"layer_norm_eps"}, 1e-12));
  s.num_positions = s.trained_context;
  s.context_is_hard = true;
  s.num_token_types = c.Size({"type_vocab_size"}, 2);
  s.embed_norm = true;
  s.qkv_bias = s.o_bias = s.mlp_bias = true;
  s.mlp = MlpKind::kPlain;
  s.activation = c.Activation({"hidden_act"}, "gelu");
  s.residual = Residual::kPostNorm;
  s.final_norm = false;
  if (c.Text({"position_embedding_type"}, "absolute") != "absolute") {
    c.Fail(Unsupported(c.culprit() + ": position_embedding_type: only 'absolute' is supported"));
  }
  UseNoRope(out);
  WeightNames& n = out.names;
  n.embed = "embeddings.word_embeddings";
  n.positions = "embeddings.position_embeddings";
  n.token_types = "embeddings.token_type_embeddings";
  n.embed_norm = "embeddings.LayerNorm";
  n.layer = "encoder.layer.{}.";
  n.q = "attention.self.query";
  n.k = "attention.self.key";
  n.v = "attention.self.value";
  n.o = "attention.output.dense";
  n.attn_norm = "attention.output.LayerNorm";
  n.up = "intermediate.dense";
  n.down = "output.dense";
  n.ffn_norm = "output.LayerNorm";
}

}  // namespace

const Family& BertFamily() {
  static const Family kFamily = {
      .name = "bert", .hf_types = {"bert"}, .gguf = {}, .read_hf = ReadHf};
  return kFamily;
}

}  // namespace rill::model
