#include "ops/linear_glu.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& LinearGluSchema() {
  using A = LinearGluArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kLinearGlu, "linear_glu",
                       "Gate and up projection with the gated activation in the epilogue")
          .Formula(
              "y[t, i] = f(sum_k x[t, k] gate[i, k] + gate_bias[i]) * (sum_k x[t, k] up[i, k] + "
              "up_bias[i])")
          .Source("Shazeer 2020, arXiv:2002.05202")
          .Tags({"matmul", "activation", "fusion"})
          .Macs("num_tokens*2*intermediate_size*hidden_size")
          .In("x", &A::x, "num_tokens, hidden_size", "activations")
          .In("w", &A::w, "2*intermediate_size, hidden_size", "gate and up rows")
          .Pairing("paired")
          .In("bias", &A::bias, "2*intermediate_size", "gate then up")
          .Optional()
          .Out("y", &A::y, "num_tokens, intermediate_size", "output")
          .Attribute("kind", &A::kind, "the activation f")
          .Enum(ActivationNames())
          .Build();
  return schema;
}

}  // namespace rill::ops
