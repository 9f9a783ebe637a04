#include "ops/norm_linear.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& NormLinearSchema() {
  using A = NormLinearArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kNormLinear, "norm_linear", "Norm and matrix product in one pass")
          .Formula("y[t, n] = sum_k norm(x[t, :])[k] * w[n, k] + bias[n]")
          .Tags({"matmul", "norm", "fusion"})
          .Macs("num_tokens*out_features*in_features")
          .In("x", &A::x, "num_tokens, in_features", "activations before the norm")
          .In("norm_weight", &A::norm_weight, "in_features", "the norm's factor; absent: ones")
          .Optional()
          .In("norm_bias", &A::norm_bias, "in_features", "the layer norm's summand; absent: zeros")
          .Optional()
          .In("w", &A::w, "out_features, in_features", "weight")
          .In("bias", &A::bias, "out_features", "added to the product")
          .Optional()
          .Out("y", &A::y, "num_tokens, out_features", "output")
          .Attribute("norm", &A::norm, "rms_norm or layer_norm over the whole row")
          .Enum(InputNormNames())
          .Attribute("eps", &A::eps, "of the norm")
          .Range(0, 1)
          .Attribute("weight_bias", &A::weight_bias, "of rms_norm")
          .Build();
  return schema;
}

}  // namespace rill::ops
