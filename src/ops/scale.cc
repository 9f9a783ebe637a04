#include "ops/scale.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& ScaleSchema() {
  using A = ScaleArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kScale, "scale", "Product with a number")
          .Formula("y[t, i] = factor * x[t, i]")
          .Tags({"elementwise"})
          .In("x", &A::x, "num_tokens, size", "input")
          .Out("y", &A::y, "num_tokens, size", "output")
          .MayAlias({"x"})
          .Attribute("factor", &A::factor, "the number; Cohere and Granite: logit scale")
          .Build();
  return schema;
}

}  // namespace rill::ops
