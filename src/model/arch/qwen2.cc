// Qwen 1.5, 2 and 2.5: Llama with biases on q, k and v, and a sliding window in the upper layers
// when switched on; with experts and a gated shared expert in the MoE models.
#include "model/arch/common.h"
#include "model/arch/qwen_moe.h"

namespace rill::model {
namespace {

void ReadHf(HfConfig& c, Description& out) {
  const bool moe = c.Text({"model_type"}, "") == "qwen2_moe";
  ReadHfLlamaLike(c, out, {.context = 32768, .kv_heads = moe ? 16 : 32});
  DecoderSpec& s = out.spec;
  s.qkv_bias = c.Bool({"qkv_bias"}, true);
  ReadQwenWindows(c, s);
  if (!moe) return;
  ReadQwenMoe(c, out);
  s.moe.shared_intermediate_size = c.Int({"shared_expert_intermediate_size"}, 0);
  s.moe.shared_gate = s.moe.shared_intermediate_size > 0;
  out.names.shared_gate = "mlp.shared_expert.gate_proj";
  out.names.shared_up = "mlp.shared_expert.up_proj";
  out.names.shared_down = "mlp.shared_expert.down_proj";
  out.names.shared_router = "mlp.shared_expert_gate";
}

void ReadGguf(GgufConfig& g, Description& out) {
  ReadGgufLlamaLike(g, out);
  MoeSpec& moe = out.spec.moe;
  moe.shared_gate = moe.shared_intermediate_size > 0;
}

}  // namespace

const Family& Qwen2Family() {
  static const Family kFamily = {.name = "qwen2",
                                 .hf_types = {"qwen2", "qwen2_moe"},
                                 .gguf = {"qwen2", "qwen2moe"},
                                 .read_hf = ReadHf,
                                 .read_gguf = ReadGguf};
  return kFamily;
}

}  // namespace rill::model
