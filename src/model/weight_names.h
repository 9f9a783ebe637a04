// WeightNames: what the parts of a network are called in a file, as data.
//
// Names are without ".weight" and ".bias". Layer names follow `layer`, whose "{}" is the layer's
// index; in an expert's name "{}" is the expert's index (no "{}": one stacked tensor
// [num_experts, N, K]). Empty: the network has no such part, or it is found in a fused one.
#pragma once

#include <cstdint>
#include <string>

namespace rill::model {

// Row order of a fused q, k, v matrix.
enum class QkvLayout : uint8_t {
  kConcatenated,  // all of q, all of k, all of v
  kPerHead,       // for each head: q, k, v      (num_kv_heads == num_heads)
  kPerGroup,      // for each KV head: its queries, k, v
};

struct WeightNames {
  std::string embed, positions, token_types, embed_norm, final_norm, lm_head;
  std::string project_in, project_out;  // between the table's width and hidden_size

  std::string layer;
  std::string attn_norm, ffn_norm;            // before the branches (kPostNorm: after the add)
  std::string post_attn_norm, post_ffn_norm;  // of the branches' outputs
  std::string q, k, v;                        // separate, or
  std::string qkv;                            // fused
  QkvLayout qkv_layout = QkvLayout::kConcatenated;
  std::string q_norm, k_norm;
  std::string q_norm_head, k_norm_head;  // a tensor per head, "{}" is the head (StableLM)
  std::string o;
  std::string q_a, q_a_norm, q_b, kv_a, kv_a_norm, kv_b;  // MLA
  std::string k_b, v_b;  // MLA in newer GGUF files: kv_b in two parts

  std::string gate, up, down;             // separate, or
  std::string gate_up;                    // fused, gate rows first
  std::string router, router_correction;  // correction: a full tensor name
  std::string expert_gate, expert_up, expert_down, expert_gate_up;
  std::string shared_gate, shared_up, shared_down, shared_router;

  bool transposed = false;  // layer matrices are stored [K, N] (GPT-2)
};

}  // namespace rill::model
