// Qwen 1: fused q, k, v with bias; the feed-forward's w2 is the gate and w1 the up projection.
// Context extension by dynamic NTK and log-n attention begins beyond the trained length, where
// results would depend on the text's final length; loads stay within it.
#include "model/arch/common.h"

namespace rill::model {
namespace {

void ReadHf(HfConfig& c, Description& out) {
  ReadHfSizes(c, out);
  DecoderSpec& s = out.spec;
  s.trained_context = c.Size({"seq_length", "max_position_embeddings"}, 2048);
  s.k_dim = s.v_dim = c.Size({"kv_channels"}, s.k_dim);
  s.intermediate_size = c.Size({"intermediate_size"}) / 2;
  s.norm.eps = static_cast<float>(c.Number({"layer_norm_epsilon"}, 1e-6));
  s.qkv_bias = true;
  const bool biased = !c.Bool({"no_bias"}, true);
  s.o_bias = s.mlp_bias = biased;
  s.tied_embedding = c.Bool({"tie_word_embeddings"}, false);
  s.context_is_hard = c.Bool({"use_dynamic_ntk"}, false) || c.Bool({"use_logn_attn"}, false);
  UseRope(out, ReadHfRope(c, s));
  WeightNames& n = out.names;
  n.embed = "transformer.wte";
  n.final_norm = "transformer.ln_f";
  n.lm_head = "lm_head";
  n.layer = "transformer.h.{}.";
  n.attn_norm = "ln_1";
  n.ffn_norm = "ln_2";
  n.qkv = "attn.c_attn";
  n.o = "attn.c_proj";
  n.gate = "mlp.w2";
  n.up = "mlp.w1";
  n.down = "mlp.c_proj";
}

void ReadGguf(GgufConfig& g, Description& out) {
  ReadGgufLlamaLike(g, out);
  out.spec.intermediate_size /= 2;  // the converter keeps Qwen's doubled count
  out.spec.qkv_bias = true;
  out.names.q.clear();
  out.names.qkv = "attn_qkv";
}

}  // namespace

const Family& QwenFamily() {
  static const Family kFamily = {.name = "qwen",
                                 .hf_types = {"qwen"},
                                 .gguf = {"qwen"},
                                 .read_hf = ReadHf,
                                 .read_gguf = ReadGguf};
  return kFamily;
}

}  // namespace rill::model
