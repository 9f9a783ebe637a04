// Mixtral: Mistral with a mixture of experts in every layer (Jiang et al. 2024, arXiv:2401.04088).
// Its GGUF files say "llama".
#include "model/arch/common.h"

namespace rill::model {
namespace {

void ReadHf(HfConfig& c, Description& out) {
  ReadHfLlamaLike(c, out, {.eps = 1e-5, .context = 131072, .kv_heads = 8, .rope = {.theta = 1e6}});
  DecoderSpec& s = out.spec;
  SetWindows(c, s, c.Int({"sliding_window"}, 0), [](int32_t) { return true; });
  s.moe.num_experts = c.Size({"num_local_experts"}, 8);
  s.moe.top_k = c.Size({"num_experts_per_tok"}, 2);
  s.moe.intermediate_size = s.intermediate_size;
  s.moe.normalize = true;  // of softmax over all: the same as softmax over the chosen
  for (LayerSpec& layer : s.layers) layer.moe = true;
  WeightNames& n = out.names;
  n.router = "block_sparse_moe.gate";
  n.expert_gate = "block_sparse_moe.experts.{}.w1";
  n.expert_up = "block_sparse_moe.experts.{}.w3";
  n.expert_down = "block_sparse_moe.experts.{}.w2";
}

}  // namespace

const Family& MixtralFamily() {
  static const Family kFamily = {
      .name = "mixtral", .hf_types = {"mixtral"}, .gguf = {}, .read_hf = ReadHf};
  return kFamily;
}

}  // namespace rill::model
