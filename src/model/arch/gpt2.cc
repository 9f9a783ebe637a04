// GPT-2 (Radford et al. 2019). Its matrices are stored [in, out].
#include "model/arch/gpt2_like.h"

#include <algorithm>
#include <cmath>

namespace rill::model {

void ReadHfGpt2Like(HfConfig& c, Description& out) {
  ReadHfSizes(c, out);
  DecoderSpec& s = out.spec;
  s.trained_context = c.Size({"n_positions", "max_position_embeddings", "n_ctx"}, 1024);
  s.intermediate_size = c.Size(
      {"n_inner"}, static_cast<int32_t>(std::min<int64_t>(int64_t{4} * s.hidden_size, kMaxSize)));
  s.norm.kind = NormKind::kLayer;
  s.norm.has_bias = true;
  s.norm.eps = static_cast<float>(c.Number({"layer_norm_epsilon"}, 1e-5));
  s.num_positions = s.trained_context;
  s.context_is_hard = true;
  s.qkv_bias = s.o_bias = s.mlp_bias = true;
  s.mlp = MlpKind::kPlain;
  s.activation = c.Activation({"activation_function"}, "gelu_new");
  s.tied_embedding = c.Bool({"tie_word_embeddings"}, true);
  if (!c.Bool({"scale_attn_weights"}, true)) s.score_scale = 1.0f;
  UseNoRope(out);
  if (c.Bool({"scale_attn_by_inverse_layer_idx"}, false)) {
    const float base =
        s.score_scale != 0 ? s.score_scale : 1.0f / std::sqrt(static_cast<float>(s.k_dim));
    for (int32_t i = 0; i < s.num_layers; ++i) {
      s.layers[static_cast<size_t>(i)].score_scale = base / static_cast<float>(i + 1);
    }
  }
  WeightNames& n = out.names;
  n.embed = "transformer.wte";
  n.positions = "transformer.wpe";
  n.final_norm = "transformer.ln_f";
  n.lm_head = "lm_head";
  n.layer = "transformer.h.{}.";
  n.attn_norm = "ln_1";
  n.ffn_norm = "ln_2";
  n.qkv = "attn.c_attn";
  n.o = "attn.c_proj";
  n.up = "mlp.c_fc";
  n.down = "mlp.c_proj";
}

void ReadGgufGpt2Like(GgufConfig& g, Description& out) {
  ReadGgufLlamaLike(g, out, {.rope = false, .layer_norm = true});
  DecoderSpec& s = out.spec;
  s.mlp = MlpKind::kPlain;
  s.activation = ops::ActivationKind::kGeluTanh;
  s.num_positions = s.trained_context;
  s.context_is_hard = true;
  out.names.positions = "position_embd";
  out.names.q.clear();
  out.names.qkv = "attn_qkv";
}

namespace {

void ReadHf(HfConfig& c, Description& out) {
  ReadHfGpt2Like(c, out);
  out.names.transposed = true;
}

// The converter transposes.
void ReadGguf(GgufConfig& g, Description& out) {
  ReadGgufGpt2Like(g, out);
}

}  // namespace

const Family& Gpt2Family() {
  static const Family kFamily = {.name = "gpt2",
                                 .hf_types = {"gpt2"},
                                 .gguf = {"gpt2"},
                                 .read_hf = ReadHf,
                                 .read_gguf = ReadGguf};
  return kFamily;
}

}  // namespace rill::model
