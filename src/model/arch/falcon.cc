// Falcon: parallel attention and feed-forward. The 7B form (multi-query, one norm), the 40B form
// (grouped queries, two norms, rows fused by group) and the RW form (ALiBi, sequential).
// Almazrouei et al. 2023, arXiv:2311.16867.
#include <algorithm>
#include <cmath>

#include "model/arch/common.h"

namespace rill::model {
namespace {

void ReadHf(HfConfig& c, Description& out) {
  ReadHfSizes(c, out);
  DecoderSpec& s = out.spec;
  // The 40B model's first configuration ("RefinedWeb") knew no such key, and the 7B's
  // ("RefinedWebModel") no n_head_kv.
  const bool refined_web = c.Text({"model_type"}, "falcon") == "RefinedWeb" && c.Has({"n_head_kv"});
  const bool new_form = c.Bool({"new_decoder_architecture"}, refined_web);
  const bool multi_query = c.Bool({"multi_query"}, true);
  s.num_kv_heads = new_form      ? c.Size({"num_kv_heads", "n_head_kv"}, s.num_heads)
                   : multi_query ? 1
                                 : s.num_heads;
  s.intermediate_size =
      c.Size({"ffn_hidden_size"},
             static_cast<int32_t>(std::min<int64_t>(int64_t{4} * s.hidden_size, kMaxSize)));
  s.norm.kind = NormKind::kLayer;
  s.norm.has_bias = true;
  s.norm.eps = static_cast<float>(c.Number({"layer_norm_epsilon"}, 1e-5));
  s.qkv_bias = s.o_bias = s.mlp_bias = c.Bool({"bias"}, false);
  s.mlp = MlpKind::kPlain;
  s.activation = c.Activation({"activation"}, "gelu");
  s.tied_embedding = c.Bool({"tie_word_embeddings"}, true);
  const bool parallel = new_form || c.Bool({"parallel_attn"}, true);
  s.residual = parallel ? Residual::kParallel : Residual::kSequential;
  const bool two_norms = new_form && c.Int({"num_ln_in_parallel_attn"}, 2) == 2;
  s.shared_norm = parallel && !two_norms;
  if (c.Bool({"alibi"}, false)) {
    UseNoRope(out);
    s.alibi_slopes = AlibiSlopes(s.num_heads);
    // Falcon scales the biased scores, so the bias too.
    for (float& slope : s.alibi_slopes) slope /= std::sqrt(static_cast<float>(s.k_dim));
  } else {
    UseRope(out, ReadHfRope(c, s));
  }
  WeightNames& n = out.names;
  n.embed = "transformer.word_embeddings";
  n.final_norm = "transformer.ln_f";
  n.lm_head = "lm_head";
  n.layer = "transformer.h.{}.";
  n.attn_norm = two_norms ? "ln_attn" : "input_layernorm";
  n.ffn_norm = two_norms ? "ln_mlp" : "post_attention_layernorm";
  n.qkv = "self_attention.query_key_value";
  n.qkv_layout = new_form      ? QkvLayout::kPerGroup
                 : multi_query ? QkvLayout::kConcatenated
                               : QkvLayout::kPerHead;
  n.o = "self_attention.dense";
  n.up = "mlp.dense_h_to_4h";
  n.down = "mlp.dense_4h_to_h";
}

// The converter reorders the fused rows to q, k, v. attn_norm_2 is the attention's own norm in the
// 40B form, attn_norm then the feed-forward's.
void ReadGguf(GgufConfig& g, Description& out) {
  ReadGgufLlamaLike(g, out, {.layer_norm = true});
  DecoderSpec& s = out.spec;
  s.mlp = MlpKind::kPlain;
  s.activation = ops::ActivationKind::kGelu;
  s.residual = Residual::kParallel;
  s.shared_norm = !g.HasTensor("blk.0.attn_norm_2.weight");
  WeightNames& n = out.names;
  n.q.clear();
  n.qkv = "attn_qkv";
  if (!s.shared_norm) {
    n.attn_norm = "attn_norm_2";
    n.ffn_norm = "attn_norm";
  }
}

}  // namespace

const Family& FalconFamily() {
  static const Family kFamily = {.name = "falcon",
                                 .hf_types = {"falcon", "RefinedWeb", "RefinedWebModel"},
                                 .gguf = {"falcon"},
                                 .read_hf = ReadHf,
                                 .read_gguf = ReadGguf};
  return kFamily;
}

}  // namespace rill::model
