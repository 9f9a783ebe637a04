// GLM-4 as transformers has it: "glm" (9B chat) is Llama with RoPE of neighbouring pairs over half
// of each head and fused gate and up; "glm4" (0414) adds norms behind the branches.
#include "model/arch/common.h"

namespace rill::model {
namespace {

void ReadHf(HfConfig& c, Description& out) {
  ReadHfLlamaLike(c, out,
                  {.eps = 1.5625e-7, .context = 131072, .kv_heads = 2, .rope = {.partial = 0.5}});
  DecoderSpec& s = out.spec;
  s.qkv_bias = c.Bool({"attention_bias"}, true);
  s.rope_interleaved = true;
  WeightNames& n = out.names;
  n.gate.clear();
  n.gate_up = "mlp.gate_up_proj";
  if (c.Text({"model_type"}, "glm") != "glm4") return;
  s.branch_norm = true;
  n.post_attn_norm = "post_self_attn_layernorm";
  n.post_ffn_norm = "post_mlp_layernorm";
}

void ReadGguf(GgufConfig& g, Description& out) {
  ReadGgufLlamaLike(g, out, {.rope_interleaved = true});
  out.spec.branch_norm = true;
  WeightNames& n = out.names;
  n.post_attn_norm = "post_attention_norm";
  n.post_ffn_norm = "post_ffw_norm";
  n.gate.clear();
  n.gate_up = "ffn_up";  // gate rows first
}

}  // namespace

const Family& GlmFamily() {
  static const Family kFamily = {.name = "glm",
                                 .hf_types = {"glm", "glm4"},
                                 .gguf = {"glm4"},
                                 .read_hf = ReadHf,
                                 .read_gguf = ReadGguf};
  return kFamily;
}

}  // namespace rill::model
