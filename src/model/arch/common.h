// What many families share: reading the usual keys, the usual weight names, ALiBi slopes.
#pragma once

#include <vector>

#include "model/family.h"

namespace rill::model {

struct RopeDefaults {
  double theta = 10000.0;
  // > 0: the part of a head that rotates where no key says so; 0: heads rotate as a whole, and the
  // family's code does not look at partial_rotary_factor.
  double partial = 0.0;
  int32_t rotary_dim = 0;            // > 0: this many, whatever the factors say
  int32_t original_context = 0;      // 0: max_position_embeddings
  std::string_view layer_type = {};  // picks an entry of a per-layer-type rope_parameters
};

// What a family's configuration class assumes of keys that are absent (released files leave out
// what is so).
struct HfDefaults {
  bool tied = false;
  double eps = 1e-6;
  int32_t context = 2048;
  int32_t kv_heads = 0;  // 0: num_attention_heads
  RopeDefaults rope = {};
};

// config.json of a Llama-like network: sizes, RMSNorm, gated SiLU, RoPE; every layer alike.
void ReadHfLlamaLike(HfConfig& config, Description& out, const HfDefaults& defaults = {});
// Sizes only: num_layers, hidden, heads, KV heads, head_dim, vocabulary, context.
void ReadHfSizes(HfConfig& config, Description& out, const HfDefaults& defaults = {});

// rope_parameters (transformers 5), or rope_theta, rope_scaling and partial_rotary_factor.
RopeConfig ReadHfRope(HfConfig& config, const DecoderSpec& spec, const RopeDefaults& defaults = {});

// Appends one RoPE and makes num_layers layers that use it.
void UseRope(Description& out, RopeConfig rope);
// num_layers layers without rotation.
void UseNoRope(Description& out);
// Every layer's window, from layer_types where present, else from `is_sliding(layer)`.
void SetWindows(HfConfig& config, DecoderSpec& spec, int32_t window, bool (*is_sliding)(int32_t));

// Names of model.layers.{}.self_attn.q_proj and so on.
WeightNames HfLlamaNames();
// Names of blk.{}.attn_q and so on, with everything llama.cpp's converter may write.
WeightNames GgufNames();

// GGUF metadata of a Llama-like network, with all that its keys can say.
struct GgufDefaults {
  bool rope = true;
  bool rope_interleaved = false;
  bool layer_norm = false;  // LayerNorm with layer_norm_epsilon instead of RMSNorm
};
void ReadGgufLlamaLike(GgufConfig& config, Description& out, const GgufDefaults& defaults = {});

// Slopes of ALiBi (Press et al. 2021, arXiv:2108.12409, and its code for counts that are no power
// of two): 2^(-8 i / n), i = 1 … n; beyond the largest power of two, odd steps of the next one.
// None for more heads than CheckSpec, which runs later, lets pass.
std::vector<float> AlibiSlopes(int32_t num_heads, double max_bias = 8.0);

}  // namespace rill::model
