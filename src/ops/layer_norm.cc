#include "ops/layer_norm.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& LayerNormSchema() {
  using A = LayerNormArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kLayerNorm, "layer_norm", "Layer normalisation over groups of a row")
          .Formula("y[t, g, i] = (x[t, g, i] - mean) / sqrt(var + eps) * weight[g, i] + bias[g, i]")
          .Source("Ba et al. 2016, arXiv:1607.06450")
          .Tags({"norm"})
          .In("x", &A::x, "num_tokens, num_groups, size", "input")
          .In("weight", &A::weight, "size | num_groups, size", "factor; absent: ones")
          .Optional()
          .In("bias", &A::bias, "size | num_groups, size", "summand; absent: zeros")
          .Optional()
          .Out("y", &A::y, "num_tokens, num_groups, size", "output")
          .MayAlias({"x"})
          .Attribute("eps", &A::eps, "added to the variance, before the square root")
          .Range(0, 1)
          .Build();
  return schema;
}

}  // namespace rill::ops
