#include "ops/rms_norm.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& RmsNormSchema() {
  using A = RmsNormArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kRmsNorm, "rms_norm",
                       "Root-mean-square normalisation over groups of a row")
          .Formula(
              "y[t, g, i] = x[t, g, i] / sqrt(mean_i(x[t, g, :]^2) + eps) * (weight[g, i] + "
              "weight_bias)")
          .Source("Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4")
          .Tags({"norm"})
          .In("x", &A::x, "num_tokens, num_groups, size", "input")
          .In("weight", &A::weight, "size | num_groups, size", "factor; absent: ones")
          .Optional()
          .Out("y", &A::y, "num_tokens, num_groups, size", "output")
          .MayAlias({"x"})
          .Attribute("eps", &A::eps, "added to the mean of squares, before the square root")
          .Range(0, 1)
          .Attribute("weight_bias", &A::weight_bias, "Gemma stores weight - 1: 1")
          .Build();
  return schema;
}

}  // namespace rill::ops
