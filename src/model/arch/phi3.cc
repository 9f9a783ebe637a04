// Phi 3 and Phi 4 mini: Llama with fused q, k, v and gate, up; LongRoPE in the 128k models.
#include "model/arch/common.h"

namespace rill::model {
namespace {

void ReadHf(HfConfig& c, Description& out) {
  ReadHfLlamaLike(
      c, out, {.eps = 1e-5, .context = 4096, .rope = {.partial = 1.0, .original_context = 4096}});
  SetWindows(c, out.spec, c.Int({"sliding_window"}, 0), [](int32_t) { return true; });
  WeightNames& n = out.names;
  n.q.clear();
  n.qkv = "self_attn.qkv_proj";
  n.gate.clear();
  n.gate_up = "mlp.gate_up_proj";
}

void ReadGguf(GgufConfig& g, Description& out) {
  ReadGgufLlamaLike(g, out);
  const int32_t window = g.Int("attention.sliding_window", 0);
  for (LayerSpec& layer : out.spec.layers) layer.window = window;
  WeightNames& n = out.names;
  n.qkv = "attn_qkv";
  n.gate.clear();
  n.gate_up = "ffn_up";  // gate rows first
}

}  // namespace

const Family& Phi3Family() {
  static const Family kFamily = {.name = "phi3",
                                 .hf_types = {"phi3"},
                                 .gguf = {"phi3"},
                                 .read_hf = ReadHf,
                                 .read_gguf = ReadGguf};
  return kFamily;
}

}  // namespace rill::model
