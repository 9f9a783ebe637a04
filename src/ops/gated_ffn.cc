#include "ops/gated_ffn.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& GatedFfnSchema() {
  using A = GatedFfnArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kGatedFfn, "gated_ffn", "A whole gated feed-forward block")
          .Formula(
              "n = norm(x[t, :]);  a[i] = f(gate_i . n + gate_bias[i]) * (up_i . n + up_bias[i])\n"
              "y[t, :] = residual[t, :] + scale * (down a + down_bias)")
          .Source("Shazeer 2020, arXiv:2002.05202")
          .Tags({"matmul", "norm", "activation", "fusion"})
          .Macs("num_tokens*3*intermediate_size*hidden_size")
          .In("x", &A::x, "num_tokens, hidden_size", "activations before the norm")
          .In("norm_weight", &A::norm_weight, "hidden_size", "the norm's factor; absent: ones")
          .Optional()
          .In("norm_bias", &A::norm_bias, "hidden_size", "the layer norm's summand; absent: zeros")
          .Optional()
          .In("gate_up", &A::gate_up, "2*intermediate_size, hidden_size", "gate and up rows")
          .Pairing("paired")
          .In("gate_up_bias", &A::gate_up_bias, "2*intermediate_size", "gate then up")
          .Optional()
          .In("down", &A::down, "hidden_size, intermediate_size", "down projection")
          .In("down_bias", &A::down_bias, "hidden_size", "added to the down projection")
          .Optional()
          .In("residual", &A::residual, "num_tokens, hidden_size", "added last")
          .Optional()
          .Out("y", &A::y, "num_tokens, hidden_size", "output")
          .MayAlias({"x", "residual"})
          .Attribute("norm", &A::norm, "rms_norm or layer_norm over the whole row, or none")
          .Enum(InputNormNames())
          .Attribute("eps", &A::eps, "of the norm")
          .Range(0, 1)
          .Attribute("weight_bias", &A::weight_bias, "of rms_norm")
          .Attribute("kind", &A::kind, "the activation f")
          .Enum(ActivationNames())
          .Attribute("scale", &A::scale, "factor of the down projection and its bias")
          .Build();
  return schema;
}

}  // namespace rill::ops
