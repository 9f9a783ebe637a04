// InternLM 2: Llama with one q, k, v matrix, whose rows go KV head by KV head: its queries, k, v.
#include "model/arch/common.h"

namespace rill::model {
namespace {

void ReadHf(HfConfig& c, Description& out) {
  ReadHfLlamaLike(c, out);
  out.spec.qkv_bias = out.spec.o_bias = c.Bool({"bias"}, false);
  WeightNames& n = out.names;
  n.embed = "model.tok_embeddings";
  n.lm_head = "output";
  n.attn_norm = "attention_norm";
  n.ffn_norm = "ffn_norm";
  n.q.clear();
  n.qkv = "attention.wqkv";
  n.qkv_layout = QkvLayout::kPerGroup;
  n.o = "attention.wo";
  n.gate = "feed_forward.w1";
  n.up = "feed_forward.w3";
  n.down = "feed_forward.w2";
}

// The converter splits and permutes q and k as for Llama.
void ReadGguf(GgufConfig& g, Description& out) {
  ReadGgufLlamaLike(g, out, {.rope_interleaved = true});
}

}  // namespace

const Family& Internlm2Family() {
  static const Family kFamily = {.name = "internlm2",
                                 .hf_types = {"internlm2"},
                                 .gguf = {"internlm2"},
                                 .read_hf = ReadHf,
                                 .read_gguf = ReadGguf};
  return kFamily;
}

}  // namespace rill::model
