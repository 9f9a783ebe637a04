// DecoderSpec: everything the one decoder forward (decoder.cc) needs to know about a network, as
// plain data. arch/<family>.cc fills it from config.json or GGUF metadata; nothing else in the
// engine knows a family's name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ops/activation.h"

namespace rill::model {

enum class NormKind : uint8_t { kRms, kLayer };

struct NormSpec {
  NormKind kind = NormKind::kRms;
  float eps = 1e-5f;
  float weight_bias = 0.0f;  // added to RMS weights (Gemma stores weight - 1)
  bool has_weight = true;    // false: OLMo 1
  bool has_bias = false;     // LayerNorm only
};

// One set of rotary angles. Scaling is already folded in (rope.h).
struct RopeSpec {
  std::vector<float> inv_freq;  // [rotary_dim / 2], radians per position
  float magnitude = 1.0f;       // factor of cos and sin
  int32_t rotary_dim() const { return static_cast<int32_t>(inv_freq.size()) * 2; }
};

enum class QkNorm : uint8_t {
  kNone,
  kPerHead,     // one weight [head_dim] for all heads (Qwen 3, Gemma 3)
  kPerHeadOwn,  // a weight [num_heads, head_dim] (Cohere, StableLM)
  kWholeRow,    // over all heads at once, weight [num_heads * head_dim] (OLMo 2)
};

// How the residual stream runs through a layer.
enum class Residual : uint8_t {
  kSequential,  // x += attn(n1 x); x += ffn(n2 x)
  kParallel,    // x += attn(n1 x) + ffn(n2 x), n2 may be n1
  kPostNorm,    // x = n1(x + attn(x)); x = n2(x + ffn(x))   (the original transformer; BERT)
};

enum class MlpKind : uint8_t { kGated, kPlain };  // down(f(gate x) * (up x)), down(f(up x))

// Multi-head latent attention, run as plain attention over decompressed heads.
struct MlaSpec {
  int32_t q_lora_rank = 0;   // 0: q comes from one full projection
  int32_t kv_lora_rank = 0;  // > 0: the layer uses MLA
  int32_t nope_dim = 0;      // per head, without rotation
  int32_t rope_dim = 0;      // per head, rotated; keys share one
};

struct MoeSpec {
  int32_t num_experts = 0;  // 0: no mixture anywhere
  int32_t top_k = 0;
  int32_t intermediate_size = 0;         // of one expert
  int32_t shared_intermediate_size = 0;  // of the always-on expert; 0: none
  bool shared_gate = false;              // its output times sigmoid(gate x) (Qwen 2 MoE)
  bool sigmoid = false;
  bool softmax_after_topk = false;
  bool normalize = false;
  bool correction_bias = false;
  float scale = 1.0f;
  int32_t num_groups = 1, top_groups = 1;
  bool group_score_top2 = false;
};

struct LayerSpec {
  int32_t rope = 0;    // index into DecoderSpec::ropes; -1: no rotation in this layer
  int32_t window = 0;  // sliding window in positions; 0: none
  bool moe = false;
  float score_scale = 0.0f;  // 0: DecoderSpec::score_scale
};

struct DecoderSpec {
  std::string family;
  std::string name;
  bool is_encoder = false;

  int32_t num_layers = 0;
  int32_t hidden_size = 0;
  int32_t intermediate_size = 0;
  int32_t num_heads = 0, num_kv_heads = 0;
  int32_t k_dim = 0, v_dim = 0;  // per head
  int32_t vocab_size = 0;
  int32_t trained_context = 0;
  int32_t max_context = 0;       // what this load allows
  bool context_is_hard = false;  // no positions beyond trained_context (learned table)

  // Embedding.
  float embed_scale = 1.0f;
  int32_t embed_dim = 0;        // width of table and lm_head, projected; 0: hidden_size (OPT-350m)
  int32_t num_positions = 0;    // rows of a learned position table; 0: none
  int32_t position_offset = 0;  // OPT: 2
  int32_t num_token_types = 0;  // BERT
  bool embed_norm = false;      // a norm right after the embedding (Bloom, BERT)

  // Blocks.
  NormSpec norm;
  Residual residual = Residual::kSequential;
  bool pre_norm = true;             // norm before attention and before the FFN
  bool branch_norm = false;         // norm of each branch's output before the residual add
  bool shared_norm = false;         // parallel: the FFN reads the attention's norm
  bool residual_from_norm = false;  // the residual is the normed x (Bloom's rare option)
  float residual_scale = 1.0f;      // of each branch (Granite)

  // Attention.
  bool qkv_bias = false, o_bias = false;
  bool optional_bias = false;  // take any bias that the file has (GGUF says nothing about them)
  float qkv_clamp = 0.0f;      // bound of |q|, |k|, |v| before norms and rotation (OLMo 1); 0: none
  QkNorm qk_norm = QkNorm::kNone;
  NormSpec qk_norm_spec;
  bool rope_interleaved = false;
  std::vector<RopeSpec> ropes;
  std::vector<float> alibi_slopes;  // [num_heads]; empty: none
  float score_scale = 0.0f;         // 0: 1 / sqrt(k_dim)
  float attn_softcap = 0.0f;
  MlaSpec mla;

  // Feed-forward.
  MlpKind mlp = MlpKind::kGated;
  ops::ActivationKind activation = ops::ActivationKind::kSilu;
  bool mlp_bias = false;
  MoeSpec moe;

  // Output.
  bool final_norm = true;
  bool tied_embedding = false;  // lm_head is the embedding table
  bool lm_head_bias = false;
  bool norm_head = false;  // rows of lm_head are scaled to length 1 (Baichuan 2)
  float logit_scale = 1.0f;
  float logit_softcap = 0.0f;

  std::vector<LayerSpec> layers;  // [num_layers]
};

}  // namespace rill::model
