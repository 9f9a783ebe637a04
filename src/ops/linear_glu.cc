#include "ops/linear_glu.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& LinearGluSchema() {
  using A = LinearGluArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kLinearGlu, "linear_glu",
                       "Gate and up projection with the gated activation in the epilogue")
          .Formula(
              "n = norm(x[t, :])\n"
              "y[t, i] = f(sum_k n[k] gate[i, k] + gate_bias[i]) * (sum_k n[k] up[i, k] + "
              "up_bias[i])")
          .Source("Shazeer 2020, arXiv:2002.05202")
          .Tags({"matmul", "norm", "activation", "fusion"})
          .Macs("num_tokens*2*intermediate_size*hidden_size")
          .In("x", &A::x, "num_tokens, hidden_size", "activations")
          .In("norm_weight", &A::norm_weight, "hidden_size", "the norm's factor; absent: ones")
          .Optional()
          .In("norm_bias", &A::norm_bias, "hidden_size", "the layer norm's summand; absent: zeros")
          .Optional()
          .In("w", &A::w, "2*intermediate_size, hidden_size", "gate and up rows")
          .Pairing("paired")
          .In("bias", &A::bias, "2*intermediate_size", "gate then up")
          .Optional()
          .Out("y", &A::y, "num_tokens, intermediate_size", "output")
          .Attribute("kind", &A::kind, "the activation f")
          .Enum(ActivationNames())
          .Attribute("norm", &A::norm, "none, or rms_norm or layer_norm over the whole row")
          .Enum(InputNormNames())
          .Attribute("eps", &A::eps, "of the norm")
          .Range(0, 1)
          .Attribute("weight_bias", &A::weight_bias, "of rms_norm")
          .Build();
  return schema;
}

}  // namespace rill::ops
