#include "ops/softcap.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& SoftcapSchema() {
  using A = SoftcapArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kSoftcap, "softcap", "Soft bound of absolute values")
          .Formula("y[t, i] = cap * tanh(x[t, i] / cap)")
          .Source("Gemma 2, arXiv:2408.00118, sec. 2")
          .Tags({"elementwise"})
          .In("x", &A::x, "num_tokens, size", "input")
          .Out("y", &A::y, "num_tokens, size", "output")
          .MayAlias({"x"})
          .Attribute("cap", &A::cap, "bound; not reached")
          .Range(1e-6, 1e9)
          .Build();
  return schema;
}

}  // namespace rill::ops
