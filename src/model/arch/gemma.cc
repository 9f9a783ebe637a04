// Gemma 1, 2 and 3 (text): embeddings times sqrt(hidden_size), RMS weights stored minus one, GELU
// gates. Gemma 2 adds norms behind the branches, softcaps and alternating windows
// (arXiv:2408.00118); Gemma 3 q and k norms and a second RoPE for its local layers
// (arXiv:2503.19786).
#include <algorithm>
#include <cmath>

#include "model/arch/common.h"

namespace rill::model {
namespace {

void SetSandwich(WeightNames& n) {
  n.post_attn_norm = "post_attention_layernorm";
  n.ffn_norm = "pre_feedforward_layernorm";
  n.post_ffn_norm = "post_feedforward_layernorm";
}

void ReadHf(HfConfig& outer, Description& out) {
  // Multimodal checkpoints keep the text model's configuration inside.
  const Json* text = outer.Find({"text_config"});
  HfConfig c(text != nullptr && text->is_object() ? *text : outer.json(), outer.culprit());
  const std::string type = c.Text({"model_type"}, "gemma");
  const bool gemma2 = type == "gemma2", gemma3 = type != "gemma" && !gemma2;
  ReadHfLlamaLike(
      c, out,
      {.tied = true, .context = gemma3 ? 131072 : 8192, .kv_heads = type == "gemma" ? 16 : 4});
  if (const Json* both = c.Find({"use_bidirectional_attention"});
      both != nullptr && !(both->is_bool() && !both->bool_value()) &&
      !(both->is_string() && both->string_value() == "vision")) {
    c.Fail(Unsupported(c.culprit() + ": use_bidirectional_attention: only causal attention is "
                                     "supported for gemma"));
  }
  DecoderSpec& s = out.spec;
  if (!c.Has({"head_dim"})) s.k_dim = s.v_dim = 256;
  s.embed_scale = std::sqrt(static_cast<float>(s.hidden_size));
  s.norm.weight_bias = 1.0f;
  // hidden_act is not read: Gemma 1's "gelu" meant the tanh form all along.
  s.activation = c.Activation({"hidden_activation"}, "gelu_pytorch_tanh");
  s.qkv_bias = s.o_bias = c.Bool({"attention_bias"}, false);
  if (gemma2 || gemma3) {
    s.branch_norm = true;
    SetSandwich(out.names);
    s.score_scale = static_cast<float>(1.0 / std::sqrt(c.Number({"query_pre_attn_scalar"}, 256.0)));
    // Gemma 3 has the key and does not use it.
    if (gemma2) {
      s.attn_softcap = static_cast<float>(c.OptionalNumber({"attn_logit_softcapping"}, 50.0));
    }
    s.logit_softcap =
        static_cast<float>(c.OptionalNumber({"final_logit_softcapping"}, gemma2 ? 30.0 : 0.0));
  }
  if (gemma2) {
    SetWindows(c, s, c.OptionalInt({"sliding_window"}, 4096), [](int32_t i) { return i % 2 == 0; });
  } else if (gemma3) {
    s.qk_norm = QkNorm::kPerHead;
    s.qk_norm_spec = s.norm;
    out.names.q_norm = "self_attn.q_norm";
    out.names.k_norm = "self_attn.k_norm";
    const int32_t pattern = c.Size({"sliding_window_pattern", "_sliding_window_pattern"}, 6);
    SetWindows(c, s, c.Int({"sliding_window"}, 4096), [](int32_t) { return false; });
    if (!c.Has({"layer_types"})) {
      const int32_t window = c.Int({"sliding_window"}, 4096);
      for (int32_t i = 0; i < s.num_layers; ++i) {
        s.layers[static_cast<size_t>(i)].window = (i + 1) % pattern != 0 ? window : 0;
      }
    }
    const bool nested = c.Has({"rope_parameters"}) &&
                        c.Find({"rope_parameters"})->Find("full_attention") != nullptr;
    RopeConfig local;
    local.rotary_dim = s.k_dim;
    local.theta = c.Number({"rope_local_base_freq"}, 10000.0);
    if (nested) local = ReadHfRope(c, s, {.layer_type = "sliding_attention"});
    out.ropes = {ReadHfRope(c, s, {.theta = 1e6, .layer_type = "full_attention"}), local};
    for (LayerSpec& layer : s.layers) layer.rope = layer.window > 0 ? 1 : 0;
  }
  if (text != nullptr) {
    out.names.embed = "language_model.model.embed_tokens";
    out.names.final_norm = "language_model.model.norm";
    out.names.layer = "language_model.model.layers.{}.";
    out.names.lm_head = "language_model.lm_head";
  }
  outer.Fail(c.status());
}

// The converter adds the one to every norm weight.
void ReadGguf(GgufConfig& g, Description& out) {
  ReadGgufLlamaLike(g, out);
  DecoderSpec& s = out.spec;
  s.embed_scale = std::sqrt(static_cast<float>(s.hidden_size));
  s.activation = ops::ActivationKind::kGeluTanh;
  const bool gemma2 = g.Has("attn_logit_softcapping") || g.Has("final_logit_softcapping");
  const bool gemma3 = g.HasTensor("blk.0.attn_q_norm.weight");
  if (!gemma2 && !gemma3) return;
  s.branch_norm = true;
  out.names.post_attn_norm = "post_attention_norm";
  out.names.post_ffn_norm = "post_ffw_norm";
  s.attn_softcap = static_cast<float>(g.Number("attn_logit_softcapping", 0.0));
  s.logit_softcap = static_cast<float>(g.Number("final_logit_softcapping", 0.0));
  const int32_t window = g.Int("attention.sliding_window", gemma2 ? 4096 : 1024);
  if (gemma3) {
    s.qk_norm = QkNorm::kPerHead;
    RopeConfig local;
    local.rotary_dim = s.k_dim;
    local.theta = g.Number("rope.freq_base_swa", 10000.0);
    out.ropes.push_back(local);
  }
  const int32_t pattern = g.Size("attention.sliding_window_pattern", gemma3 ? 6 : 2);
  for (int32_t i = 0; i < s.num_layers; ++i) {
    LayerSpec& layer = s.layers[static_cast<size_t>(i)];
    layer.window = (i + 1) % pattern != 0 ? window : 0;
    layer.rope = gemma3 && layer.window > 0 ? 1 : 0;
  }
  // The 27B models scale by hidden_size / num_heads; the files do not say so, their depth does.
  if (gemma2 ? s.num_layers == 46 : s.num_layers == 62) {
    s.score_scale = 1.0f / std::sqrt(static_cast<float>(s.hidden_size / s.num_heads));
  }
}

}  // namespace

const Family& GemmaFamily() {
  static const Family kFamily = {.name = "gemma",
                                 .hf_types = {"gemma", "gemma2", "gemma3", "gemma3_text"},
                                 .gguf = {"gemma", "gemma2", "gemma3"},
                                 .read_hf = ReadHf,
                                 .read_gguf = ReadGguf};
  return kFamily;
}

}  // namespace rill::model
