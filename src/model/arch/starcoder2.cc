// StarCoder 2: LayerNorm, RoPE, biases, a plain feed-forward (Lozhkov et al. 2024,
// arXiv:2402.19173).
#include "model/arch/common.h"

namespace rill::model {
namespace {

void ReadHf(HfConfig& c, Description& out) {
  ReadHfLlamaLike(c, out, {.tied = true, .context = 4096, .kv_heads = 2});
  DecoderSpec& s = out.spec;
  s.norm.kind = NormKind::kLayer;
  s.norm.has_bias = true;
  s.norm.eps = static_cast<float>(c.Number({"norm_epsilon"}, 1e-5));
  s.qkv_bias = s.o_bias = s.mlp_bias = c.Bool({"use_bias"}, true);
  s.mlp = MlpKind::kPlain;
  s.activation = c.Activation({"hidden_act"}, "gelu_pytorch_tanh");
  SetWindows(c, s, c.Int({"sliding_window"}, 0), [](int32_t) { return true; });
  out.names.up = "mlp.c_fc";
  out.names.down = "mlp.c_proj";
}

void ReadGguf(GgufConfig& g, Description& out) {
  ReadGgufLlamaLike(g, out, {.layer_norm = true});
  out.spec.mlp = MlpKind::kPlain;
  out.spec.activation = ops::ActivationKind::kGeluTanh;
}

}  // namespace

const Family& Starcoder2Family() {
  static const Family kFamily = {.name = "starcoder2",
                                 .hf_types = {"starcoder2"},
                                 .gguf = {"starcoder2"},
                                 .read_hf = ReadHf,
                                 .read_gguf = ReadGguf};
  return kFamily;
}

}  // namespace rill::model
