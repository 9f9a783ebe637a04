#include "ops/activation.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& ActivationSchema() {
  using A = ActivationArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kActivation, "activation", "Elementwise activation")
          .Formula(
              "y[t, i] = f(x[t, i])\n"
              "kSilu      x / (1 + e^-x)\n"
              "kGelu      x * (1 + erf(x / sqrt 2)) / 2\n"
              "kGeluTanh  x * (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2\n"
              "kQuickGelu x / (1 + e^(-1.702 x))\n"
              "kRelu      max(x, 0);  kRelu2  max(x, 0)^2;  kIdentity  x")
          .Source("Hendrycks & Gimpel 2016, arXiv:1606.08415")
          .Tags({"activation", "elementwise"})
          .In("x", &A::x, "num_tokens, size", "input")
          .Out("y", &A::y, "num_tokens, size", "output")
          .MayAlias({"x"})
          .Attribute("kind", &A::kind, "the activation f")
          .Enum(ActivationNames())
          .Build();
  return schema;
}

}  // namespace rill::ops
