#include "ops/skip_layer_norm.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& SkipLayerNormSchema() {
  using A = SkipLayerNormArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kSkipLayerNorm, "skip_layer_norm",
                       "Residual add and LayerNorm in one pass")
          .Formula(
              "h[t, :] = x[t, :] + skip[t, :];  y[t, :] = layer_norm(h[t, :]) as in layer_norm.h")
          .Source("Ba et al. 2016, arXiv:1607.06450")
          .Tags({"norm", "fusion"})
          .In("x", &A::x, "num_tokens, hidden_size", "what the last block gave")
          .In("skip", &A::skip, "num_tokens, hidden_size", "the residual stream")
          .In("weight", &A::weight, "hidden_size", "factor; absent: ones")
          .Optional()
          .In("bias", &A::bias, "hidden_size", "summand; absent: zeros")
          .Optional()
          .Out("h", &A::h, "num_tokens, hidden_size", "the new residual stream")
          .MayAlias({"x", "skip"})
          .Out("y", &A::y, "num_tokens, hidden_size", "normalised h")
          .MayAlias({"x", "skip"})
          .Attribute("eps", &A::eps, "added to the variance, before the square root")
          .Range(0, 1)
          .Build();
  return schema;
}

}  // namespace rill::ops
