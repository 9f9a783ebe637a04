// StableLM: Llama with LayerNorm, partial RoPE, optional q, k, v biases, q and k norms per head and
// parallel residual.
#include "model/arch/common.h"

namespace rill::model {
namespace {

void ReadHf(HfConfig& c, Description& out) {
  ReadHfLlamaLike(c, out, {.context = 4096, .rope = {.partial = 0.25}});
  DecoderSpec& s = out.spec;
  s.norm.kind = NormKind::kLayer;
  s.norm.has_bias = true;
  s.norm.eps = static_cast<float>(c.Number({"layer_norm_eps", "norm_eps"}, 1e-5));
  s.qkv_bias = c.Bool({"use_qkv_bias"}, false);
  if (c.Bool({"qk_layernorm"}, false)) {
    s.qk_norm = QkNorm::kPerHeadOwn;
    s.qk_norm_spec = s.norm;
    s.qk_norm_spec.has_bias = false;
    out.names.q_norm_head = "self_attn.q_layernorm.norms.{}";
    out.names.k_norm_head = "self_attn.k_layernorm.norms.{}";
  }
  if (c.Bool({"use_parallel_residual"}, false)) {
    s.residual = Residual::kParallel;
    s.shared_norm = true;
  }
}

void ReadGguf(GgufConfig& g, Description& out) {
  ReadGgufLlamaLike(g, out, {.layer_norm = true});
  DecoderSpec& s = out.spec;
  if (g.HasTensor("blk.0.attn_q_norm.weight")) s.qk_norm = QkNorm::kPerHeadOwn;
  // The converter writes use_parallel_residual: true where a configuration does not say; what a
  // file without the second norm computes is certain.
  if (!g.HasTensor("blk.0.ffn_norm.weight")) {
    s.residual = Residual::kParallel;
    s.shared_norm = true;
  }
}

}  // namespace

const Family& StablelmFamily() {
  static const Family kFamily = {.name = "stablelm",
                                 .hf_types = {"stablelm", "stablelm_epoch"},
                                 .gguf = {"stablelm"},
                                 .read_hf = ReadHf,
                                 .read_gguf = ReadGguf};
  return kFamily;
}

}  // namespace rill::model
