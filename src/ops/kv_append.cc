#include "ops/kv_append.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& KvAppendSchema() {
  using A = KvAppendArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kKvAppend, "kv_append",
                       "Writes keys and values of this step into their pages")
          .Formula(
              "page(s, p) = page_table[s, p / page_size],  p = kv_lens[s] - q_len + i for row i of "
              "sequence s\n"
              "K[p, h, :] = encode(k[t, h, :]),  V[p, h, :] = encode(v[t, h, :])")
          .Tags({"kv"})
          .In("k", &A::k, "num_tokens, num_kv_heads, k_dim", "keys")
          .In("v", &A::v, "num_tokens, num_kv_heads, v_dim", "values")
          .InOut("kv", &A::kv, "num_kv_heads, k_dim, v_dim",
                 "pages of this step, quant/paged_kv_view.h")
          .Attribute("layer", &A::layer, "layer of the model, first one 0")
          .Range(0, 1 << 20)
          .Constraint("layer < num_layers")
          .Build();
  return schema;
}

}  // namespace rill::ops
