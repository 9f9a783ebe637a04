#include "ops/linear.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& LinearSchema() {
  using A = LinearArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kLinear, "linear",
                       "Matrix product with optional bias, residual and scale")
          .Formula("y[t, n] = residual[t, n] + scale * (sum_k x[t, k] * w[n, k] + bias[n])")
          .Tags({"matmul"})
          .Macs("num_tokens*out_features*in_features")
          .In("x", &A::x, "num_tokens, in_features", "activations")
          .In("w", &A::w, "out_features, in_features", "weight")
          .In("bias", &A::bias, "out_features", "added to the product")
          .Optional()
          .In("residual", &A::residual, "num_tokens, out_features", "added last")
          .Optional()
          .Out("y", &A::y, "num_tokens, out_features", "output")
          .MayAlias({"residual"})
          .Attribute("scale", &A::scale, "factor of product and bias")
          .Build();
  return schema;
}

}  // namespace rill::ops
