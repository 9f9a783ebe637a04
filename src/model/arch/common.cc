#include "model/arch/common.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "model/spec_check.h"

namespace rill::model {

std::vector<float> AlibiSlopes(int32_t num_heads, double max_bias) {
  std::vector<float> slopes;
  if (num_heads > kMaxHeads) return slopes;
  int32_t power = 1;
  while (power * 2 <= num_heads) power *= 2;
  slopes.reserve(static_cast<size_t>(num_heads));
  for (int32_t i = 1; i <= power; ++i) {
    slopes.push_back(static_cast<float>(std::exp2(-max_bias * i / power)));
  }
  for (int32_t i = 1; static_cast<int32_t>(slopes.size()) < num_heads; i += 2) {
    slopes.push_back(static_cast<float>(std::exp2(-max_bias * i / (2.0 * power))));
  }
  return slopes;
}

void ReadHfSizes(HfConfig& c, Description& out, const HfDefaults& defaults) {
  DecoderSpec& s = out.spec;
  s.num_layers = c.Size({"num_hidden_layers", "n_layer", "num_layers"});
  s.hidden_size = c.Size({"hidden_size", "n_embd", "n_embed"});
  s.num_heads = c.Size({"num_attention_heads", "n_head"});
  s.num_kv_heads = c.Has({"num_key_value_heads"})
                       ? c.Size({"num_key_value_heads"})
                       : c.OptionalInt({"num_key_value_heads"}, defaults.kv_heads);
  if (s.num_kv_heads == 0) s.num_kv_heads = s.num_heads;
  if (const Json* head_dim = c.Find({"head_dim"});
      head_dim == nullptr && s.hidden_size % s.num_heads != 0) {
    c.Fail(InvalidArgument(
        fmt::format("{}: hidden_size {} is not a multiple of num_attention_heads {}", c.culprit(),
                    s.hidden_size, s.num_heads)));
  }
  s.k_dim = s.v_dim = c.Size({"head_dim"}, std::max(1, s.hidden_size / s.num_heads));
  s.vocab_size = c.Size({"vocab_size", "padded_vocab_size"});
  s.trained_context =
      c.Size({"max_position_embeddings", "n_positions", "seq_length", "model_max_length"},
             defaults.context);
  if (s.num_layers > 4096) {
    c.FailKey("num_hidden_layers", "an integer in [1, 4096]",
              c.Find({"num_hidden_layers", "n_layer", "num_layers"}));
    s.num_layers = 1;
  }
}

RopeConfig ReadHfRope(HfConfig& c, const DecoderSpec& s, const RopeDefaults& defaults) {
  const Json* params = c.Find({"rope_parameters"});
  if (params != nullptr && !defaults.layer_type.empty()) {
    if (const Json* own = params->Find(defaults.layer_type)) params = own;
  }
  if (params == nullptr) params = c.Find({"rope_scaling"});
  static const Json kEmpty{Json::Object{}};
  if (params == nullptr) params = &kEmpty;
  if (!params->is_object()) {
    c.FailKey("rope_scaling", "an object", params);
    params = &kEmpty;
  }
  HfConfig r(*params, c.culprit() + ": rope_scaling");
  RopeConfig out;
  out.theta = r.Number({"rope_theta"},
                       c.Number({"rope_theta", "rotary_emb_base", "rope_base"}, defaults.theta));
  const double usual = defaults.partial > 0 ? defaults.partial : 1.0;
  double partial = r.Number({"partial_rotary_factor"},
                            c.Number({"partial_rotary_factor", "rotary_pct", "rope_pct"}, usual));
  if (!(partial >= 0 && partial <= 1)) {
    c.Fail(InvalidArgument(fmt::format(
        "{}: partial_rotary_factor: expected a number in [0, 1], got {}", c.culprit(), partial)));
  }
  if (defaults.partial == 0) partial = 1.0;
  out.rotary_dim = defaults.rotary_dim > 0
                       ? defaults.rotary_dim
                       : static_cast<int32_t>(std::floor(s.k_dim * std::clamp(partial, 0.0, 1.0)));
  const std::string type = r.Text({"rope_type", "type"}, "default");
  const int32_t trained = s.trained_context;
  // The configuration's own key wins over that of the scaling.
  const int32_t usual_context = defaults.original_context > 0
                                    ? defaults.original_context
                                    : r.Size({"original_max_position_embeddings"}, trained);
  out.original_context = c.Size({"original_max_position_embeddings"}, usual_context);
  const double ratio = static_cast<double>(trained) / static_cast<double>(out.original_context);
  if (type == "default" || type == "none" || type == "mrope") {
    // mrope: text positions are the same on all three axes, so it is the default.
  } else if (type == "linear") {
    out.scaling = RopeScaling::kLinear;
    out.factor = r.Number({"factor"});
  } else if (type == "dynamic") {
    out.scaling = RopeScaling::kDynamic;
    out.factor = r.Number({"factor"});
    out.original_context = trained;
  } else if (type == "yarn") {
    out.scaling = RopeScaling::kYarn;
    out.factor = r.Number({"factor"}, ratio);
    out.attention_factor = r.Number({"attention_factor"}, 0.0);
    out.beta_fast = r.Number({"beta_fast"}, 32.0);
    out.beta_slow = r.Number({"beta_slow"}, 1.0);
    out.mscale = r.Number({"mscale"}, 0.0);
    out.mscale_all_dim = r.Number({"mscale_all_dim"}, 0.0);
    out.truncate = r.Bool({"truncate"}, true);
  } else if (type == "llama3") {
    out.scaling = RopeScaling::kLlama3;
    out.factor = r.Number({"factor"});
    out.low_freq_factor = r.Number({"low_freq_factor"});
    out.high_freq_factor = r.Number({"high_freq_factor"});
  } else if (type == "longrope" || type == "su") {
    out.scaling = RopeScaling::kLongRope;
    out.factor = r.Number({"factor"}, ratio);
    out.attention_factor = r.Number({"attention_factor"}, 0.0);
    out.short_factor = r.Numbers({"short_factor"});
    out.long_factor = r.Numbers({"long_factor"});
  } else {
    c.Fail(Unsupported(fmt::format(
        "{}: rope_type '{}' is not supported; known are default, linear, dynamic, yarn, "
        "llama3, longrope",
        c.culprit(), type.substr(0, 64))));
  }
  c.Fail(r.status());
  return out;
}

void UseRope(Description& out, RopeConfig rope) {
  out.ropes = {std::move(rope)};
  out.spec.layers.assign(static_cast<size_t>(out.spec.num_layers), LayerSpec{});
}

void UseNoRope(Description& out) {
  out.ropes.clear();
  LayerSpec layer;
  layer.rope = -1;
  out.spec.layers.assign(static_cast<size_t>(out.spec.num_layers), layer);
}

void SetWindows(HfConfig& c, DecoderSpec& s, int32_t window, bool (*is_sliding)(int32_t)) {
  const Json* types = c.Find({"layer_types"});
  if (types != nullptr &&
      (!types->is_array() || types->array().size() < static_cast<size_t>(s.num_layers))) {
    c.FailKey("layer_types", fmt::format("{} strings", s.num_layers), types);
    return;
  }
  for (int32_t i = 0; i < s.num_layers; ++i) {
    bool sliding = is_sliding(i);
    if (types != nullptr) {
      const Json& type = types->array()[static_cast<size_t>(i)];
      sliding = type.is_string() && type.string_value() == "sliding_attention";
      if (!sliding && !(type.is_string() && type.string_value() == "full_attention")) {
        c.FailKey("layer_types", "full_attention or sliding_attention", &type);
      }
    }
    s.layers[static_cast<size_t>(i)].window = sliding ? window : 0;
  }
}

void ReadHfLlamaLike(HfConfig& c, Description& out, const HfDefaults& defaults) {
  ReadHfSizes(c, out, defaults);
  DecoderSpec& s = out.spec;
  s.intermediate_size = c.Size({"intermediate_size"});
  s.norm.eps = static_cast<float>(c.Number({"rms_norm_eps"}, defaults.eps));
  s.activation = c.Activation({"hidden_act", "hidden_activation"}, "silu");
  s.tied_embedding = c.Bool({"tie_word_embeddings"}, defaults.tied);
  s.rope_interleaved = c.Bool({"rope_interleaved"}, false);
  UseRope(out, ReadHfRope(c, s, defaults.rope));
  out.names = HfLlamaNames();
}

WeightNames HfLlamaNames() {
  WeightNames n;
  n.embed = "model.embed_tokens";
  n.final_norm = "model.norm";
  n.lm_head = "lm_head";
  n.layer = "model.layers.{}.";
  n.attn_norm = "input_layernorm";
  n.ffn_norm = "post_attention_layernorm";
  n.q = "self_attn.q_proj";
  n.k = "self_attn.k_proj";
  n.v = "self_attn.v_proj";
  n.o = "self_attn.o_proj";
  n.gate = "mlp.gate_proj";
  n.up = "mlp.up_proj";
  n.down = "mlp.down_proj";
  return n;
}

WeightNames GgufNames() {
  WeightNames n;
  n.embed = "token_embd";
  n.final_norm = "output_norm";
  n.lm_head = "output";
  n.layer = "blk.{}.";
  n.attn_norm = "attn_norm";
  n.ffn_norm = "ffn_norm";
  n.q = "attn_q";
  n.k = "attn_k";
  n.v = "attn_v";
  n.q_norm = "attn_q_norm";
  n.k_norm = "attn_k_norm";
  n.o = "attn_output";
  n.gate = "ffn_gate";
  n.up = "ffn_up";
  n.down = "ffn_down";
  n.router = "ffn_gate_inp";
  n.router_correction = "exp_probs_b.bias";
  n.expert_gate = "ffn_gate_exps";
  n.expert_up = "ffn_up_exps";
  n.expert_down = "ffn_down_exps";
  n.shared_gate = "ffn_gate_shexp";
  n.shared_up = "ffn_up_shexp";
  n.shared_down = "ffn_down_shexp";
  n.shared_router = "ffn_gate_inp_shexp";
  return n;
}

namespace {

void ReadGgufRope(GgufConfig& g, Description& out, const GgufDefaults& defaults) {
  DecoderSpec& s = out.spec;
  if (!defaults.rope) {
    UseNoRope(out);
    return;
  }
  RopeConfig rope;
  rope.rotary_dim = g.Size("rope.dimension_count", s.k_dim);
  rope.theta = g.Number("rope.freq_base", 10000.0);
  rope.original_context = g.Size("rope.scaling.original_context_length", s.trained_context);
  const std::string type = g.Text("rope.scaling.type", "none");
  if (type == "linear") {
    rope.scaling = RopeScaling::kLinear;
    rope.factor = g.Number("rope.scaling.factor", g.Number("rope.scale_linear", 1.0));
  } else if (type == "yarn") {
    rope.scaling = RopeScaling::kYarn;
    rope.factor = g.Number("rope.scaling.factor", 1.0);
    rope.attention_factor =
        g.Number("rope.scaling.attn_factor", 1.0) * YarnMscale(rope.factor, 1.0);
    rope.beta_fast = g.Number("rope.scaling.yarn_beta_fast", 32.0);
    rope.beta_slow = g.Number("rope.scaling.yarn_beta_slow", 1.0);
  } else if (type != "none" && type != "longrope") {
    g.Fail(Unsupported(fmt::format("{}: rope.scaling.type '{}' is not supported", g.source().path,
                                   type.substr(0, 64))));
  } else if (g.Has("rope.scale_linear") && type == "none") {
    rope.scaling = RopeScaling::kLinear;
    rope.factor = g.Number("rope.scale_linear", 1.0);
  }
  // Llama 3's and LongRoPE's per-frequency divisors are tensors. MakeRope compares their number
  // with the rotary dimension; no more than it can take are copied.
  auto factors = [&](const char* name) {
    std::vector<double> values;
    const io::TensorEntry* entry = g.source().tensors.Find(name);
    if (entry == nullptr) return values;
    if (entry->view.dtype != DType::kF32 || entry->view.rank() != 1 ||
        entry->view.dim(0) > kMaxRotaryDim / 2) {
      g.Fail(InvalidArgument(fmt::format(
          "{}: tensor '{}': expected f32 [{}], got {} {}; supported: f32 of one dimension, at most "
          "[{}]",
          g.source().path, name, rope.rotary_dim / 2, DTypeName(entry->view.dtype),
          entry->view.shape.ToString(), kMaxRotaryDim / 2)));
      return values;
    }
    const float* data = entry->view.As<float>();
    values.assign(data, data + entry->view.dim(0));
    return values;
  };
  rope.freq_factors = factors("rope_freqs.weight");
  rope.long_factor = factors("rope_factors_long.weight");
  rope.short_factor = factors("rope_factors_short.weight");
  if (!rope.long_factor.empty()) {
    rope.scaling = RopeScaling::kLongRope;
    rope.factor =
        static_cast<double>(s.trained_context) / static_cast<double>(rope.original_context);
    rope.attention_factor = g.Number("rope.scaling.attn_factor", 0.0);
  }
  s.rope_interleaved = defaults.rope_interleaved;
  UseRope(out, std::move(rope));
}

void ReadGgufMoe(GgufConfig& g, DecoderSpec& s) {
  s.moe.num_experts = g.Int("expert_count", 0);
  if (s.moe.num_experts == 0) return;
  s.moe.top_k = g.Size("expert_used_count");
  s.moe.intermediate_size = g.Size("expert_feed_forward_length", s.intermediate_size);
  s.moe.shared_intermediate_size = g.Int("expert_shared_feed_forward_length", 0);
  s.moe.normalize = g.Bool("expert_weights_norm", false);
  s.moe.scale = static_cast<float>(g.Number("expert_weights_scale", 1.0));
  if (s.moe.scale == 0.0f) s.moe.scale = 1.0f;
  s.moe.sigmoid = g.Int("expert_gating_func", 1) == 2;
  const int32_t dense_layers = g.Int("leading_dense_block_count", 0);
  s.moe.correction_bias = g.HasTensor(fmt::format("blk.{}.exp_probs_b.bias", dense_layers));
  s.moe.num_groups = std::max(1, g.Int("expert_group_count", 1));
  s.moe.top_groups = std::max(1, g.Int("expert_group_used_count", s.moe.num_groups));
  s.moe.group_score_top2 = s.moe.sigmoid;
  for (int32_t i = dense_layers; i < s.num_layers; ++i) {
    s.layers[static_cast<size_t>(i)].moe = true;
  }
}

}  // namespace

void ReadGgufLlamaLike(GgufConfig& g, Description& out, const GgufDefaults& defaults) {
  DecoderSpec& s = out.spec;
  s.num_layers = g.Size("block_count");
  s.hidden_size = g.Size("embedding_length");
  if (s.num_layers > 4096) {
    g.Fail(InvalidArgument(fmt::format("{}: block_count: expected at most 4096, got {}",
                                       g.source().path, s.num_layers)));
    s.num_layers = 1;
  }
  auto uniform = [&](std::string_view key, int64_t fallback) {
    const std::vector<int64_t> values = g.PerLayer(key, s.num_layers, fallback);
    for (int64_t value : values) {
      if (value < 1 || value > kMaxSize) {
        g.Fail(InvalidArgument(fmt::format("{}: {}: expected an integer in [1, {}], got {}",
                                           g.source().path, key, kMaxSize,
                                           g.Has(key) ? std::to_string(value) : "nothing")));
        return 1;
      }
      if (value != values[0]) {
        g.Fail(Unsupported(fmt::format("{}: {}: layers with different sizes are not supported",
                                       g.source().path, key)));
        return 1;
      }
    }
    return static_cast<int32_t>(values[0]);
  };
  s.num_heads = uniform("attention.head_count", 0);
  s.num_kv_heads = uniform("attention.head_count_kv", s.num_heads);
  s.intermediate_size = uniform("feed_forward_length", 1);
  s.k_dim = g.Size("attention.key_length", std::max(1, s.hidden_size / s.num_heads));
  s.v_dim = g.Size("attention.value_length", std::max(1, s.hidden_size / s.num_heads));
  s.trained_context = g.Size("context_length", 2048);
  const io::TensorEntry* embed = g.source().tensors.Find("token_embd.weight");
  if (embed == nullptr || embed->view.rank() != 2) {
    g.Fail(InvalidArgument(
        g.source().path + ": tensor 'token_embd.weight': expected [vocab_size, hidden_size], got " +
        (embed == nullptr ? "nothing" : embed->view.shape.ToString())));
  } else {
    s.vocab_size = static_cast<int32_t>(std::min<int64_t>(embed->view.dim(0), kMaxSize));
  }
  s.norm.kind = defaults.layer_norm ? NormKind::kLayer : NormKind::kRms;
  s.norm.eps =
      static_cast<float>(defaults.layer_norm ? g.Number("attention.layer_norm_epsilon", 1e-5)
                                             : g.Number("attention.layer_norm_rms_epsilon"));
  s.norm.has_bias = defaults.layer_norm;
  s.qk_norm_spec = s.norm;
  s.qk_norm_spec.has_bias = false;
  s.optional_bias = true;
  s.tied_embedding = !g.HasTensor("output.weight");
  ReadGgufRope(g, out, defaults);
  ReadGgufMoe(g, s);
  out.names = GgufNames();
}

}  // namespace rill::model
