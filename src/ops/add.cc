#include "ops/add.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& AddSchema() {
  using A = AddArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kAdd, "add", "Scaled sum of two tensors")
          .Formula("y[t, i] = a[t, i] + b_scale * b[t, i]")
          .Tags({"elementwise"})
          .In("a", &A::a, "num_tokens, size", "first summand: the residual stream")
          .In("b", &A::b, "num_tokens, size", "second summand")
          .Out("y", &A::y, "num_tokens, size", "sum")
          .MayAlias({"a", "b"})
          .Attribute("b_scale", &A::b_scale, "factor of b; Granite: residual_multiplier")
          .Build();
  return schema;
}

}  // namespace rill::ops
