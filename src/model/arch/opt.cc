// OPT: LayerNorm, ReLU, learned positions that start at row 2 (Zhang et al. 2022,
// arXiv:2205.01068). OPT-350m's table is narrower than its layers and projected on both ends.
#include "model/arch/common.h"

namespace rill::model {
namespace {

void ReadHf(HfConfig& c, Description& out) {
  ReadHfSizes(c, out);
  DecoderSpec& s = out.spec;
  s.intermediate_size = c.Size({"ffn_dim"});
  s.norm.kind = NormKind::kLayer;
  s.norm.has_bias = s.norm.has_weight = c.Bool({"layer_norm_elementwise_affine"}, true);
  s.position_offset = 2;
  s.num_positions = s.trained_context + s.position_offset;
  s.context_is_hard = true;
  s.qkv_bias = s.o_bias = s.mlp_bias = c.Bool({"enable_bias"}, true);
  s.mlp = MlpKind::kPlain;
  s.activation = c.Activation({"activation_function"}, "relu");
  s.tied_embedding = c.Bool({"tie_word_embeddings"}, true);
  const bool before = c.Bool({"do_layer_norm_before"}, true);
  s.residual = before ? Residual::kSequential : Residual::kPostNorm;
  s.final_norm = before && !c.Bool({"_remove_final_layer_norm"}, false);
  s.embed_dim = c.Size({"word_embed_proj_dim"}, s.hidden_size);
  UseNoRope(out);
  WeightNames& n = out.names;
  n.embed = "model.decoder.embed_tokens";
  n.project_in = "model.decoder.project_in";
  n.project_out = "model.decoder.project_out";
  n.positions = "model.decoder.embed_positions";
  n.final_norm = "model.decoder.final_layer_norm";
  n.lm_head = "lm_head";
  n.layer = "model.decoder.layers.{}.";
  n.attn_norm = "self_attn_layer_norm";
  n.ffn_norm = "final_layer_norm";
  n.q = "self_attn.q_proj";
  n.k = "self_attn.k_proj";
  n.v = "self_attn.v_proj";
  n.o = "self_attn.out_proj";
  n.up = "fc1";
  n.down = "fc2";
}

}  // namespace

const Family& OptFamily() {
  static const Family kFamily = {.name = "opt", .hf_types = {"opt"}, .gguf = {}, .read_hf = ReadHf};
  return kFamily;
}

}  // namespace rill::model
