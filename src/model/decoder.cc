#include "model/decoder.h"

#include <cmath>

namespace rill::model {
namespace {

// What all layers share: the step's rotary angles.
struct StepState {
  std::vector<Value> cos_sin;  // of each RoPE
};

Value RecordNorm(Builder& b, std::string_view place, Value x, const NormSpec& norm,
                 const NormWeights& w) {
  if (norm.kind == NormKind::kLayer) return b.LayerNorm(place, x, w, norm.eps);
  return b.RmsNorm(place, x, w, norm.eps, norm.weight_bias);
}

Builder::InputNorm InputNormOf(const NormSpec& norm, const NormWeights& w) {
  if (norm.kind == NormKind::kLayer) return {ops::InputNorm::kLayer, &w, norm.eps, 0.0f};
  return {ops::InputNorm::kRms, &w, norm.eps, norm.weight_bias};
}

Value RecordMlp(Builder& b, const DecoderSpec& spec, const LayerWeights& w, Value x,
                const Builder::InputNorm& norm, Value residual, float scale) {
  if (spec.mlp == MlpKind::kGated) {
    return b.GatedFfn(x, norm, w.gate_up, w.down, spec.activation, scale, residual);
  }
  x = b.Normed(x, norm);
  const Value inner = b.Activation("act", b.Linear("up", x, w.gate_up), spec.activation);
  return b.Linear("down", inner, w.down, scale, residual);
}

void NormHeads(Builder& b, std::string_view place, Value x, const DecoderSpec& spec,
               const NormWeights& w) {
  const NormSpec& norm = spec.qk_norm_spec;
  if (spec.qk_norm == QkNorm::kWholeRow) x = x.Flat();
  if (norm.kind == NormKind::kRms) {
    b.RmsNormInPlace(place, x, w, norm.eps, norm.weight_bias);
  } else {
    b.LayerNormInPlace(place, x, w, norm.eps);
  }
}

struct Qkv {
  Value q, k, v;  // [num_tokens, heads, dim]
};

Qkv RecordQkv(Builder& b, const DecoderSpec& spec, const LayerWeights& w, Value x,
              const Builder::InputNorm& norm) {
  const int64_t q_size = int64_t{spec.num_heads} * spec.k_dim;
  const int64_t k_size = int64_t{spec.num_kv_heads} * spec.k_dim;
  const int64_t v_size = int64_t{spec.num_kv_heads} * spec.v_dim;
  const Value qkv = b.NormLinear("qkv", x, norm, w.qkv);
  if (spec.qkv_clamp > 0) b.ClampInPlace("qkv_clamp", qkv, spec.qkv_clamp);
  Qkv out;
  out.q = qkv.Columns(0, q_size).Heads(spec.num_heads);
  out.k = qkv.Columns(q_size, k_size).Heads(spec.num_kv_heads);
  out.v = qkv.Columns(q_size + k_size, v_size).Heads(spec.num_kv_heads);
  if (spec.qk_norm != QkNorm::kNone) {
    NormHeads(b, "q_norm", out.q, spec, w.q_norm);
    NormHeads(b, "k_norm", out.k, spec, w.k_norm);
  }
  return out;
}

// Latent attention: keys and values of every head come from one compressed row; the rotated part
// of a key is shared by all heads.
Qkv RecordMla(Builder& b, const DecoderSpec& spec, const LayerSpec& layer, const LayerWeights& w,
              const StepState& step, Value x) {
  const MlaSpec& mla = spec.mla;
  const int64_t heads = spec.num_heads;
  Value q_in = x;
  if (!w.q_a.empty()) {
    q_in = RecordNorm(b, "q_a_norm", b.Linear("q_a", x, w.q_a), spec.norm, w.q_a_norm);
  }
  Qkv out;
  out.q = b.Linear("q", q_in, w.q).Heads(heads);
  const Value kv_a = b.Linear("kv_a", x, w.kv_a);
  const Value latent =
      RecordNorm(b, "kv_a_norm", kv_a.Columns(0, mla.kv_lora_rank), spec.norm, w.kv_a_norm);
  const Value kv = b.Linear("kv_b", latent, w.kv_b);
  const Value k_rope = kv_a.Columns(mla.kv_lora_rank, mla.rope_dim).Heads(1);
  if (layer.rope >= 0) {
    const Value cos_sin = step.cos_sin[static_cast<size_t>(layer.rope)];
    b.RopeInPlace("q_rope", out.q.Columns(mla.nope_dim, mla.rope_dim), cos_sin,
                  spec.rope_interleaved);
    b.RopeInPlace("k_rope", k_rope, cos_sin, spec.rope_interleaved);
  }
  out.k = b.NewBuffer(RowsOf::kTokens, heads * spec.k_dim).Heads(heads);
  Value k_nope, v;
  if (w.kv_b_by_head) {
    k_nope = kv.Heads(heads).Columns(0, mla.nope_dim);
    v = kv.Heads(heads).Columns(mla.nope_dim, spec.v_dim);
  } else {
    k_nope = kv.Columns(0, heads * mla.nope_dim).Heads(heads);
    v = kv.Columns(heads * mla.nope_dim, heads * spec.v_dim).Heads(heads);
  }
  b.Copy("k_nope", k_nope, out.k.Columns(0, mla.nope_dim));
  b.Copy("k_shared", k_rope.Broadcast(heads), out.k.Columns(mla.nope_dim, mla.rope_dim));
  out.v = v;
  return out;
}

// Attention of the normed rows over the pages, after this step's keys and values are in them.
// [num_tokens, H * v_dim]
Value RecordAttention(Builder& b, const DecoderSpec& spec, const DecoderWeights& weights,
                      int32_t index, const StepState& step, Value x,
                      const Builder::InputNorm& norm) {
  const LayerSpec& layer = spec.layers[static_cast<size_t>(index)];
  const LayerWeights& w = weights.layers[static_cast<size_t>(index)];
  Builder::AttentionOptions options;
  options.layer = index;
  options.alibi_slopes = weights.alibi_slopes;
  options.score_scale = layer.score_scale != 0  ? layer.score_scale
                        : spec.score_scale != 0 ? spec.score_scale
                                                : 1.0f / std::sqrt(static_cast<float>(spec.k_dim));
  options.softcap = spec.attn_softcap;
  options.window = layer.window;
  options.causal = !spec.is_encoder;
  const bool mla = spec.mla.kv_lora_rank > 0;
  const Qkv qkv =
      mla ? RecordMla(b, spec, layer, w, step, b.Normed(x, norm)) : RecordQkv(b, spec, w, x, norm);
  if (mla || layer.rope < 0) {
    b.KvAppend("kv_append", qkv.k, qkv.v, index);
  } else {
    b.RopeKvAppend("rope_kv", qkv.q, qkv.k, qkv.v, step.cos_sin[static_cast<size_t>(layer.rope)],
                   index, spec.rope_interleaved);
  }
  return b.PagedAttention("attention", qkv.q, spec.v_dim, options);
}

Value RecordMoe(Builder& b, const DecoderSpec& spec, const LayerWeights& w, Value x,
                Value residual) {
  const MoeSpec& moe = spec.moe;
  ops::MoeRouteArgs route;
  route.correction_bias = w.router_correction;
  route.sigmoid = moe.sigmoid;
  route.softmax_after_topk = moe.softmax_after_topk;
  route.normalize = moe.normalize;
  route.scale = moe.scale;
  route.num_groups = moe.num_groups;
  route.top_groups = moe.top_groups;
  route.group_score_top2 = moe.group_score_top2;
  const Value logits = b.Linear("router", x, w.router);
  const Builder::Routing routing = b.MoeRoute("route", logits, moe.top_k, route);
  const bool ungated = spec.mlp == MlpKind::kPlain;
  Value y = b.MoeFfn("experts", x, routing, *w.expert_gate_up.w, *w.expert_down.w, spec.activation,
                     ungated, residual);
  if (w.shared_gate_up.empty()) return y;
  if (w.shared_router.empty()) {
    const Value inner = b.LinearGlu("shared_gate_up", x, w.shared_gate_up, spec.activation, {});
    return b.Linear("shared_down", inner, w.shared_down, 1.0f, y);
  }
  // A gated shared expert is a mixture of one, weighed by sigmoid(gate x).
  ops::MoeRouteArgs one;
  one.sigmoid = true;
  const Value gate = b.Linear("shared_router", x, w.shared_router);
  return b.MoeFfn("shared_expert", x, b.MoeRoute("shared_route", gate, 1, one), *w.shared_gate_up.w,
                  *w.shared_down.w, spec.activation, ungated, y);
}

// residual + scale * ffn(n), n the normed rows; without residual: scale * ffn(n).
Value RecordFfn(Builder& b, const DecoderSpec& spec, int32_t index, const LayerWeights& w, Value x,
                const Builder::InputNorm& norm, Value residual) {
  if (!spec.layers[static_cast<size_t>(index)].moe) {
    return RecordMlp(b, spec, w, x, norm, residual, spec.residual_scale);
  }
  x = b.Normed(x, norm);
  if (residual.empty() || spec.residual_scale == 1.0f) return RecordMoe(b, spec, w, x, residual);
  return b.Add("residual", residual, RecordMoe(b, spec, w, x, {}), spec.residual_scale);
}

// Behind the last layer's attention no row meets another, so what follows is computed for the rows
// whose logits are wanted, of a prompt one or none: `x` cut to those.
Value WantedRows(Builder& b, const DecoderSpec& spec, int32_t layer, std::string_view place,
                 Value x) {
  const bool is_last = layer + 1 == spec.num_layers && !spec.is_encoder;
  return is_last ? b.GatherRows(place, x, b.LogitRows()) : x;
}

// x += attn(n1 x); x += ffn(n2 x), each branch's output normed first when branch_norm says so.
Value RecordSequential(Builder& b, const DecoderSpec& spec, const DecoderWeights& weights,
                       int32_t index, const StepState& step, Value x) {
  const LayerWeights& w = weights.layers[static_cast<size_t>(index)];
  // What enters a branch: rows and the norm that is still to do. Where the residual takes the
  // normed rows too, they exist on their own.
  struct Branch {
    Value x;
    Builder::InputNorm norm;
    Value residual;
  };
  const auto branch = [&](Value rows, const NormWeights& norm_weights) -> Branch {
    if (!spec.pre_norm) return {rows, {}, rows};
    const Builder::InputNorm norm = InputNormOf(spec.norm, norm_weights);
    if (!spec.residual_from_norm) return {rows, norm, rows};
    const Value normed = b.Normed(rows, norm);
    return {normed, {}, normed};
  };
  Value h = x;
  {
    Builder::Scope scope(b, "attn");
    const Branch in = branch(x, w.attn_norm);
    const Value a = WantedRows(b, spec, index, "rows",
                               RecordAttention(b, spec, weights, index, step, in.x, in.norm));
    const Value residual =
        WantedRows(b, spec, index, "residual_rows", spec.branch_norm ? x : in.residual);
    if (spec.branch_norm) {
      const Value o =
          RecordNorm(b, "post_norm", b.Linear("o", a, w.o), spec.norm, w.post_attn_norm);
      h = b.Add("residual", residual, o, spec.residual_scale);
    } else {
      h = b.Linear("o", a, w.o, spec.residual_scale, residual);
    }
  }
  Builder::Scope scope(b, "ffn");
  const Branch in = branch(h, w.ffn_norm);
  if (spec.branch_norm) {
    const Value f = RecordFfn(b, spec, index, w, in.x, in.norm, {});
    return b.Add("residual", h, RecordNorm(b, "post_norm", f, spec.norm, w.post_ffn_norm), 1.0f);
  }
  return RecordFfn(b, spec, index, w, in.x, in.norm, in.residual);
}

// x += attn(n1 x) + ffn(n2 x)
Value RecordParallel(Builder& b, const DecoderSpec& spec, const DecoderWeights& weights,
                     int32_t index, const StepState& step, Value x) {
  const LayerWeights& w = weights.layers[static_cast<size_t>(index)];
  // One norm for both branches is done once.
  const Builder::InputNorm attn_norm = InputNormOf(spec.norm, w.attn_norm);
  Value n1 = spec.shared_norm ? b.Normed(x, attn_norm) : x;
  Value h;
  {
    Builder::Scope scope(b, "attn");
    const Value a =
        WantedRows(b, spec, index, "rows",
                   RecordAttention(b, spec, weights, index, step, n1,
                                   spec.shared_norm ? Builder::InputNorm{} : attn_norm));
    const Value residual = WantedRows(b, spec, index, "residual_rows", x);
    n1 = spec.shared_norm ? WantedRows(b, spec, index, "norm_rows", n1) : residual;
    h = b.Linear("o", a, w.o, spec.residual_scale, residual);
  }
  Builder::Scope scope(b, "ffn");
  return RecordFfn(b, spec, index, w, n1,
                   spec.shared_norm ? Builder::InputNorm{} : InputNormOf(spec.norm, w.ffn_norm), h);
}

// x = n1(x + attn(x)); x = n2(x + ffn(x))
Value RecordPostNorm(Builder& b, const DecoderSpec& spec, const DecoderWeights& weights,
                     int32_t index, const StepState& step, Value x) {
  const LayerWeights& w = weights.layers[static_cast<size_t>(index)];
  Value h;
  {
    Builder::Scope scope(b, "attn");
    const Value a =
        WantedRows(b, spec, index, "rows", RecordAttention(b, spec, weights, index, step, x, {}));
    const Value residual = WantedRows(b, spec, index, "residual_rows", x);
    h = RecordNorm(b, "norm", b.Linear("o", a, w.o, 1.0f, residual), spec.norm, w.attn_norm);
  }
  Builder::Scope scope(b, "ffn");
  return RecordNorm(b, "norm", RecordFfn(b, spec, index, w, h, {}, h), spec.norm, w.ffn_norm);
}

}  // namespace

void RecordDecoder(Builder& b, const DecoderSpec& spec, const DecoderWeights& weights) {
  Value x = b.Embedding("embed", *weights.embed, b.TokenIds(), spec.embed_scale);
  if (!weights.project_in.empty()) x = b.Linear("project_in", x, weights.project_in);
  if (weights.token_types != nullptr) {
    x = b.PositionEmbedding("token_types", x, *weights.token_types, b.TokenTypes(), 0);
  }
  if (weights.positions != nullptr) {
    x = b.PositionEmbedding("positions", x, *weights.positions, b.Positions(),
                            spec.position_offset);
  }
  if (spec.embed_norm) x = RecordNorm(b, "embed_norm", x, spec.norm, weights.embed_norm);

  StepState step;
  for (size_t i = 0; i < spec.ropes.size(); ++i) {
    step.cos_sin.push_back(b.RopeAngles("rope." + std::to_string(i), b.Positions(),
                                        weights.inv_freqs[i], spec.ropes[i].magnitude));
  }
  for (int32_t i = 0; i < spec.num_layers; ++i) {
    Builder::Scope scope(b, "layers." + std::to_string(i));
    switch (spec.residual) {
      case Residual::kSequential: x = RecordSequential(b, spec, weights, i, step, x); break;
      case Residual::kParallel: x = RecordParallel(b, spec, weights, i, step, x); break;
      case Residual::kPostNorm: x = RecordPostNorm(b, spec, weights, i, step, x); break;
    }
  }
  if (spec.is_encoder) {
    b.GatherToLogits("hidden", x, b.LogitRows());
    return;
  }
  if (spec.final_norm) x = RecordNorm(b, "final_norm", x, spec.norm, weights.final_norm);
  if (!weights.project_out.empty()) x = b.Linear("project_out", x, weights.project_out);
  const bool has_softcap = spec.logit_softcap > 0;
  const Value logits =
      b.LogitsLinear("lm_head", x, weights.lm_head, spec.logit_scale, !has_softcap);
  if (has_softcap) b.SoftcapInPlace("logit_softcap", logits, spec.logit_softcap);
}

}  // namespace rill::model
