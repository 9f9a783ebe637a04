// LLaMA 1-3 and what is built exactly like it: Vicuna, Yi, InternLM 3, SmolLM 1 and 2, MiniCPM in
// GGUF, Mistral in GGUF, llama2.c checkpoints.
#include "model/arch/common.h"

namespace rill::model {
namespace {

void ReadHf(HfConfig& c, Description& out) {
  ReadHfLlamaLike(c, out);
  out.spec.qkv_bias = out.spec.o_bias = c.Bool({"attention_bias", "bias"}, false);
  out.spec.mlp_bias = c.Bool({"mlp_bias"}, false);
}

// The converter permutes q and k rows so that RoPE pairs are neighbours; Mixtral is "llama" with
// experts.
void ReadGguf(GgufConfig& g, Description& out) {
  ReadGgufLlamaLike(g, out, {.rope_interleaved = true});
  out.spec.moe.normalize = out.spec.moe.num_experts > 0;
}

}  // namespace

const Family& LlamaFamily() {
  static const Family kFamily = {.name = "llama",
                                 .hf_types = {"llama"},
                                 .gguf = {"llama"},
                                 .read_hf = ReadHf,
                                 .read_gguf = ReadGguf};
  return kFamily;
}

}  // namespace rill::model
