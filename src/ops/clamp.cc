#include "ops/clamp.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& ClampSchema() {
  using A = ClampArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kClamp, "clamp", "Hard bound of absolute values")
          .Formula("y[t, i] = min(max(x[t, i], -limit), limit)")
          .Source("OLMo, arXiv:2402.00838")
          .Tags({"elementwise"})
          .In("x", &A::x, "num_tokens, size", "input; NaN stays NaN")
          .Out("y", &A::y, "num_tokens, size", "output")
          .MayAlias({"x"})
          .Attribute("limit", &A::limit, "bound; can be reached")
          .Range(1e-6, 1e9)
          .Build();
  return schema;
}

}  // namespace rill::ops
