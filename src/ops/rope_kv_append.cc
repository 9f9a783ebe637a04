#include "ops/rope_kv_append.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& RopeKvAppendSchema() {
  using A = RopeKvAppendArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kRopeKvAppend, "rope_kv_append",
                       "rope of q and k, and kv_append, in one pass")
          .Formula("rope(q), rope(k) and kv_append(k, v) in one pass")
          .Source("Su et al. 2021, arXiv:2104.09864")
          .Tags({"position", "kv", "fusion"})
          .InOut("q", &A::q, "num_tokens, num_heads, k_dim", "queries, rotated in place")
          .InOut("k", &A::k, "num_tokens, num_kv_heads, k_dim", "keys; unspecified after")
          .In("v", &A::v, "num_tokens, num_kv_heads, v_dim", "values")
          .In("cos_sin", &A::cos_sin, "num_tokens, rotary_dim", "from rope_angles")
          .InOut("kv", &A::kv, "num_kv_heads, k_dim, v_dim",
                 "pages of this step, quant/paged_kv_view.h")
          .Attribute("layer", &A::layer, "layer of the model, first one 0")
          .Range(0, 1 << 20)
          .Attribute("interleaved", &A::interleaved, "pairs are neighbours, not halves")
          .Constraint("layer < num_layers")
          .Constraint("rotary_dim % 2 == 0")
          .Constraint("rotary_dim <= k_dim")
          .Build();
  return schema;
}

}  // namespace rill::ops
