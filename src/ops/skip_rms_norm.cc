#include "ops/skip_rms_norm.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& SkipRmsNormSchema() {
  using A = SkipRmsNormArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kSkipRmsNorm, "skip_rms_norm", "Residual add and RMSNorm in one pass")
          .Formula("h[t, :] = x[t, :] + skip[t, :];  y[t, :] = rms_norm(h[t, :]) as in rms_norm.h")
          .Source("Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4")
          .Tags({"norm", "fusion"})
          .In("x", &A::x, "num_tokens, hidden_size", "what the last block gave")
          .In("skip", &A::skip, "num_tokens, hidden_size", "the residual stream")
          .In("weight", &A::weight, "hidden_size", "factor")
          .Out("h", &A::h, "num_tokens, hidden_size", "the new residual stream")
          .MayAlias({"x", "skip"})
          .Out("y", &A::y, "num_tokens, hidden_size", "normalised h")
          .MayAlias({"x", "skip"})
          .Attribute("eps", &A::eps, "added to the mean of squares, before the square root")
          .Range(0, 1)
          .Attribute("weight_bias", &A::weight_bias, "Gemma stores weight - 1: 1")
          .Build();
  return schema;
}

}  // namespace rill::ops
