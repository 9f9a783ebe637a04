// Cohere Command R (1 and 2): one LayerNorm without bias before parallel attention and
// feed-forward, RoPE of neighbouring pairs, scaled logits. Command R+ norms q and k per head;
// Command R7B (cohere2) has sliding windows with RoPE and full layers without.
#include "model/arch/common.h"

namespace rill::model {
namespace {

void SetCommon(DecoderSpec& s) {
  s.norm.kind = NormKind::kLayer;
  s.norm.has_bias = false;
  s.residual = Residual::kParallel;
  s.shared_norm = true;
  s.rope_interleaved = true;
}

void ReadHf(HfConfig& c, Description& out) {
  const bool cohere2 = c.Text({"model_type"}, "cohere") == "cohere2";
  ReadHfLlamaLike(c, out,
                  {.tied = true, .context = 8192, .rope = {.theta = cohere2 ? 10000.0 : 500000.0}});
  DecoderSpec& s = out.spec;
  SetCommon(s);
  s.norm.eps = static_cast<float>(c.Number({"layer_norm_eps"}, 1e-5));
  s.qkv_bias = s.o_bias = c.Bool({"attention_bias"}, false);
  s.logit_scale = static_cast<float>(c.Number({"logit_scale"}, 0.0625));
  if (c.Bool({"use_qk_norm"}, false)) {
    s.qk_norm = QkNorm::kPerHeadOwn;
    s.qk_norm_spec = s.norm;
    out.names.q_norm = "self_attn.q_norm";
    out.names.k_norm = "self_attn.k_norm";
  }
  if (!cohere2) return;
  const int32_t pattern = c.Size({"sliding_window_pattern", "_sliding_window_pattern"}, 4);
  const int32_t window = c.OptionalInt({"sliding_window"}, 4096);
  SetWindows(c, s, window, [](int32_t) { return false; });
  for (int32_t i = 0; i < s.num_layers; ++i) {
    LayerSpec& layer = s.layers[static_cast<size_t>(i)];
    if (!c.Has({"layer_types"})) layer.window = (i + 1) % pattern != 0 ? window : 0;
    layer.rope = layer.window > 0 ? 0 : -1;
  }
}

void ReadGguf(GgufConfig& g, Description& out) {
  ReadGgufLlamaLike(g, out, {.rope_interleaved = true, .layer_norm = true});
  DecoderSpec& s = out.spec;
  SetCommon(s);
  s.logit_scale = static_cast<float>(g.Number("logit_scale", 1.0));
  if (g.HasTensor("blk.0.attn_q_norm.weight")) s.qk_norm = QkNorm::kPerHeadOwn;
  if (!g.Has("attention.sliding_window")) return;
  const int32_t window = g.Int("attention.sliding_window", 4096);
  for (int32_t i = 0; i < s.num_layers; ++i) {
    LayerSpec& layer = s.layers[static_cast<size_t>(i)];
    layer.window = (i + 1) % 4 != 0 ? window : 0;
    layer.rope = layer.window > 0 ? 0 : -1;
  }
}

}  // namespace

const Family& CohereFamily() {
  static const Family kFamily = {.name = "cohere",
                                 .hf_types = {"cohere", "cohere2"},
                                 .gguf = {"command-r", "cohere2"},
                                 .read_hf = ReadHf,
                                 .read_gguf = ReadGguf};
  return kFamily;
}

}  // namespace rill::model
