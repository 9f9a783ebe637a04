#include "ops/glu.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& GluSchema() {
  using A = GluArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kGlu, "glu", "Gated linear unit, elementwise half")
          .Formula("y[t, i] = f(gate[t, i]) * up[t, i]")
          .Source("Shazeer 2020, arXiv:2002.05202")
          .Tags({"activation", "elementwise", "fusion"})
          .In("gate", &A::gate, "num_tokens, intermediate_size", "goes through f")
          .In("up", &A::up, "num_tokens, intermediate_size", "multiplied")
          .Out("y", &A::y, "num_tokens, intermediate_size", "output")
          .MayAlias({"gate"})
          .Attribute("kind", &A::kind, "the activation f")
          .Enum(ActivationNames())
          .Build();
  return schema;
}

}  // namespace rill::ops
