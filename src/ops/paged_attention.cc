#include "ops/paged_attention.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& PagedAttentionSchema() {
  using A = PagedAttentionArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kPagedAttention, "paged_attention",
                       "Attention over paged keys and values")
          .Formula(
              "s[p] = score_scale * sum_d q[t, h, d] * K[p, h', d]        h' = h / (num_heads / "
              "num_kv_heads)\n"
              "s[p] = softcap * tanh(s[p] / softcap)                      when softcap > 0\n"
              "s[p] += alibi_slopes[h] * (p - position(t))                when given "
              "(arXiv:2108.12409)\n"
              "visible p: p <= position(t) when causal, else p < kv_len;  p > position(t) - "
              "window, window > 0\n"
              "y[t, h, :] = sum_p softmax(s)[p] * V[p, h', :]\n"
              "sinks (gpt-oss): exp(sinks[h]) joins the softmax's denominator, nothing else.")
          .Source("Milakov & Gimelshein 2018, arXiv:1805.02867; Kwon et al. 2023, arXiv:2309.06180")
          .Tags({"attention", "kv"})
          .Macs("num_tokens*num_heads*(k_dim+v_dim)")
          .In("q", &A::q, "num_tokens, num_heads, k_dim", "queries")
          .In("kv", &A::kv, "num_kv_heads, k_dim, v_dim",
              "pages of this step, quant/paged_kv_view.h")
          .In("alibi_slopes", &A::alibi_slopes, "num_heads", "bias per position of distance")
          .Optional()
          .In("sinks", &A::sinks, "num_heads", "logit of a key without a value")
          .Optional()
          .Out("y", &A::y, "num_tokens, num_heads, v_dim", "output")
          .Attribute("layer", &A::layer, "layer of the model, first one 0")
          .Range(0, 1 << 20)
          .Attribute("score_scale", &A::score_scale, "usually 1 / sqrt(k_dim)")
          .Attribute("softcap", &A::softcap, "bound of |score|; 0: none")
          .Range(0, 1e9)
          .Attribute("window", &A::window, "sliding window in positions; 0: none")
          .Range(0, 0x7fffffff)
          .Attribute("causal", &A::causal, "a query sees its own position and earlier ones only")
          .Constraint("layer < num_layers")
          .Constraint("num_heads % num_kv_heads == 0")
          .Build();
  return schema;
}

}  // namespace rill::ops
