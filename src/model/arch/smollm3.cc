// SmolLM 3: Llama where every fourth layer does not rotate.
#include "model/arch/common.h"

namespace rill::model {
namespace {

void ReadHf(HfConfig& c, Description& out) {
  ReadHfLlamaLike(c, out, {.tied = true, .context = 32768, .kv_heads = 4, .rope = {.theta = 2e6}});
  DecoderSpec& s = out.spec;
  s.qkv_bias = s.o_bias = c.Bool({"attention_bias"}, false);
  s.mlp_bias = c.Bool({"mlp_bias"}, false);
  const int32_t interval = c.Size({"no_rope_layer_interval"}, 4);
  const std::vector<double> rotates = c.Numbers({"no_rope_layers"});  // 1: the layer rotates
  for (int32_t i = 0; i < s.num_layers; ++i) {
    const auto index = static_cast<size_t>(i);
    const bool rope = index < rotates.size() ? rotates[index] != 0 : (i + 1) % interval != 0;
    s.layers[index].rope = rope ? 0 : -1;
  }
  if (c.Bool({"use_sliding_window"}, false)) {
    SetWindows(c, s, c.Int({"sliding_window"}, 0), [](int32_t) { return false; });
  }
}

// Permuted like Llama.
void ReadGguf(GgufConfig& g, Description& out) {
  ReadGgufLlamaLike(g, out, {.rope_interleaved = true});
  for (size_t i = 3; i < out.spec.layers.size(); i += 4) out.spec.layers[i].rope = -1;
}

}  // namespace

const Family& Smollm3Family() {
  static const Family kFamily = {.name = "smollm3",
                                 .hf_types = {"smollm3"},
                                 .gguf = {"smollm3"},
                                 .read_hf = ReadHf,
                                 .read_gguf = ReadGguf};
  return kFamily;
}

}  // namespace rill::model
