#include "model/arch/qwen_moe.h"

namespace rill::model {

void ReadQwenWindows(HfConfig& c, DecoderSpec& s) {
  if (!c.Bool({"use_sliding_window"}, false)) return;
  const int32_t window = c.OptionalInt({"sliding_window"}, 4096);
  if (c.Text({"model_type"}, "") == "qwen3_moe") {  // does not know max_window_layers
    for (LayerSpec& layer : s.layers) layer.window = window;
    return;
  }
  const int32_t first = c.Int({"max_window_layers"}, 28);
  SetWindows(c, s, window, [](int32_t) { return false; });
  if (c.Has({"layer_types"})) return;
  for (int32_t i = first; i < s.num_layers; ++i) s.layers[static_cast<size_t>(i)].window = window;
}

void ReadQwenMoe(HfConfig& c, Description& out) {
  DecoderSpec& s = out.spec;
  s.moe.num_experts = c.Size({"num_experts", "num_local_experts"});
  s.moe.top_k = c.Size({"num_experts_per_tok"});
  s.moe.intermediate_size = c.Size({"moe_intermediate_size"});
  s.moe.normalize = c.Bool({"norm_topk_prob"}, false);
  const int32_t step = c.Size({"decoder_sparse_step"}, 1);
  for (int32_t i = 0; i < s.num_layers; ++i) {
    s.layers[static_cast<size_t>(i)].moe = (i + 1) % step == 0;
  }
  for (double layer : c.Numbers({"mlp_only_layers"})) {
    if (layer >= 0 && layer < s.num_layers) s.layers[static_cast<size_t>(layer)].moe = false;
  }
  WeightNames& n = out.names;
  n.router = "mlp.gate";
  n.expert_gate = "mlp.experts.{}.gate_proj";
  n.expert_up = "mlp.experts.{}.up_proj";
  n.expert_down = "mlp.experts.{}.down_proj";
}

}  // namespace rill::model
