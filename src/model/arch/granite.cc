// Granite 3: Llama with multipliers of the embedding, the attention scores, the residual branches
// and the logits.
#include "model/arch/common.h"

namespace rill::model {
namespace {

void ReadHf(HfConfig& c, Description& out) {
  ReadHfLlamaLike(c, out);
  DecoderSpec& s = out.spec;
  s.qkv_bias = s.o_bias = c.Bool({"attention_bias"}, false);
  s.mlp_bias = c.Bool({"mlp_bias"}, false);
  s.embed_scale = static_cast<float>(c.Number({"embedding_multiplier"}, 1.0));
  s.residual_scale = static_cast<float>(c.Number({"residual_multiplier"}, 1.0));
  s.score_scale = static_cast<float>(c.Number({"attention_multiplier"}, 1.0));
  s.logit_scale = static_cast<float>(1.0 / c.Number({"logits_scaling"}, 1.0));
}

// Permuted like Llama.
void ReadGguf(GgufConfig& g, Description& out) {
  ReadGgufLlamaLike(g, out, {.rope_interleaved = true});
  DecoderSpec& s = out.spec;
  s.embed_scale = static_cast<float>(g.Number("embedding_scale", 1.0));
  s.residual_scale = static_cast<float>(g.Number("residual_scale", 1.0));
  s.score_scale = static_cast<float>(g.Number("attention.scale", 0.0));
  s.logit_scale = static_cast<float>(1.0 / g.Number("logit_scale", 1.0));
}

}  // namespace

const Family& GraniteFamily() {
  static const Family kFamily = {.name = "granite",
                                 .hf_types = {"granite"},
                                 .gguf = {"granite"},
                                 .read_hf = ReadHf,
                                 .read_gguf = ReadGguf};
  return kFamily;
}

}  // namespace rill::model
