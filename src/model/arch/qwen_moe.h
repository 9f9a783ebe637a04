// What Qwen 2 and Qwen 3 share beyond Llama.
#pragma once

#include "model/arch/common.h"

namespace rill::model {

// use_sliding_window: layers from max_window_layers on have the window; in Qwen 3 MoE all have.
void ReadQwenWindows(HfConfig& config, DecoderSpec& spec);
// num_experts, num_experts_per_tok, norm_topk_prob, decoder_sparse_step, mlp_only_layers; names.
void ReadQwenMoe(HfConfig& config, Description& out);

}  // namespace rill::model
