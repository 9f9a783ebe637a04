// OLMo 1: Llama with LayerNorm that has neither weight nor bias (arXiv:2402.00838). OLMo 2: no norm
// before the branches, one behind each, and q and k normed over all heads (arXiv:2501.00656).
#include "model/arch/common.h"

namespace rill::model {
namespace {

void SetOlmo2(DecoderSpec& s, WeightNames& n) {
  s.pre_norm = false;
  s.branch_norm = true;
  s.qk_norm = QkNorm::kWholeRow;
  s.qk_norm_spec = s.norm;
  n.attn_norm.clear();
  n.ffn_norm.clear();
}

void ReadHf(HfConfig& c, Description& out) {
  const bool olmo2 = c.Text({"model_type"}, "olmo") == "olmo2";
  ReadHfLlamaLike(c, out, {.eps = 1e-5});
  DecoderSpec& s = out.spec;
  s.qkv_bias = s.o_bias = c.Bool({"attention_bias"}, false);
  if (olmo2) {
    SetOlmo2(s, out.names);
    out.names.q_norm = "self_attn.q_norm";
    out.names.k_norm = "self_attn.k_norm";
    out.names.post_attn_norm = "post_attention_layernorm";
    out.names.post_ffn_norm = "post_feedforward_layernorm";
    return;
  }
  s.norm.kind = NormKind::kLayer;
  s.norm.has_weight = false;
  s.norm.eps = 1e-5f;
  s.qkv_clamp = static_cast<float>(c.Number({"clip_qkv"}, 0.0));
}

// OLMo 1's q and k rows are permuted by the converter, OLMo 2's are not.
void ReadGgufOlmo(GgufConfig& g, Description& out) {
  if (g.HasTensor("blk.0.post_attention_norm.weight")) {
    ReadGgufLlamaLike(g, out);
    SetOlmo2(out.spec, out.names);
    out.names.post_attn_norm = "post_attention_norm";
    out.names.post_ffn_norm = "post_ffw_norm";
    return;
  }
  ReadGgufLlamaLike(g, out, {.rope_interleaved = true, .layer_norm = true});
  out.spec.norm.has_weight = out.spec.norm.has_bias = false;
  out.spec.qkv_clamp = static_cast<float>(g.Number("attention.clamp_kqv", 0.0));
}

}  // namespace

const Family& OlmoFamily() {
  static const Family kFamily = {.name = "olmo",
                                 .hf_types = {"olmo", "olmo2"},
                                 .gguf = {"olmo", "olmo2"},
                                 .read_hf = ReadHf,
                                 .read_gguf = ReadGgufOlmo};
  return kFamily;
}

}  // namespace rill::model
