// Qwen 3: Qwen 2 without q, k, v biases, with an RMSNorm on every query and key head.
#include "model/arch/common.h"
#include "model/arch/qwen_moe.h"

namespace rill::model {
namespace {

void ReadHf(HfConfig& c, Description& out) {
  const bool moe = c.Text({"model_type"}, "") == "qwen3_moe";
  ReadHfLlamaLike(c, out, {.context = 32768, .kv_heads = moe ? 4 : 32});
  DecoderSpec& s = out.spec;
  s.qkv_bias = s.o_bias = c.Bool({"attention_bias"}, false);
  s.qk_norm = QkNorm::kPerHead;
  s.qk_norm_spec = s.norm;
  out.names.q_norm = "self_attn.q_norm";
  out.names.k_norm = "self_attn.k_norm";
  ReadQwenWindows(c, s);
  if (moe) ReadQwenMoe(c, out);
}

void ReadGguf(GgufConfig& g, Description& out) {
  ReadGgufLlamaLike(g, out);
  out.spec.qk_norm = QkNorm::kPerHead;
  out.spec.moe.normalize = true;
}

}  // namespace

const Family& Qwen3Family() {
  static const Family kFamily = {.name = "qwen3",
                                 .hf_types = {"qwen3", "qwen3_moe"},
                                 .gguf = {"qwen3", "qwen3moe"},
                                 .read_hf = ReadHf,
                                 .read_gguf = ReadGguf};
  return kFamily;
}

}  // namespace rill::model
