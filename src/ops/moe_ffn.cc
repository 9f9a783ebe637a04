#include "ops/moe_ffn.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& MoeFfnSchema() {
  using A = MoeFfnArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kMoeFfn, "moe_ffn", "Mixture of gated feed-forward experts")
          .Formula(
              "y[t, :] = residual[t, :] + sum_j expert_weights[t, j] * down_e(f(gate_e x[t]) * "
              "(up_e x[t])),\n"
              "e = expert_ids[t, j]")
          .Source("Jiang et al. 2024, arXiv:2401.04088")
          .Tags({"matmul", "moe", "fusion"})
          .Macs("num_tokens*top_k*(3-ungated)*intermediate_size*hidden_size")
          .In("x", &A::x, "num_tokens, hidden_size", "activations")
          .In("expert_ids", &A::expert_ids, "num_tokens, top_k",
              "chosen experts, each in [0, num_experts)")
          .DTypes({DType::kI32})
          .In("expert_weights", &A::expert_weights, "num_tokens, top_k",
              "factor of each chosen expert")
          .In("gate_up", &A::gate_up, "num_experts, (2-ungated)*intermediate_size, hidden_size",
              "gate and up rows of each expert")
          .Pairing("paired unless ungated")
          .In("down", &A::down, "num_experts, hidden_size, intermediate_size",
              "down projection of each expert")
          .In("residual", &A::residual, "num_tokens, hidden_size", "added last")
          .Optional()
          .Out("y", &A::y, "num_tokens, hidden_size", "output")
          .MayAlias({"residual"})
          .Attribute("kind", &A::kind, "the activation f")
          .Enum(ActivationNames())
          .Attribute("ungated", &A::ungated, "down_e(f(up_e x)): no gate")
          .Build();
  return schema;
}

}  // namespace rill::ops
