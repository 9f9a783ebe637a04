#include "ops/rope_angles.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& RopeAnglesSchema() {
  using A = RopeAnglesArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kRopeAngles, "rope_angles",
                       "Cosine and sine of the rotary angles of this step")
          .Formula(
              "cos_sin[t, 2 i]     = magnitude * cos(a),  cos_sin[t, 2 i + 1] = magnitude * "
              "sin(a)\n"
              "a = f32(positions[t]) * inv_freq[i], rounded to f32 (as transformers computes it)")
          .Source("Su et al. 2021, arXiv:2104.09864")
          .Tags({"position"})
          .In("positions", &A::positions, "num_tokens", "absolute positions")
          .DTypes({DType::kI32})
          .In("inv_freq", &A::inv_freq, "rotary_dim/2", "angle per position")
          .Out("cos_sin", &A::cos_sin, "num_tokens, rotary_dim", "cosine and sine, alternating")
          .Attribute("magnitude", &A::magnitude, "YaRN and longrope: attention factor")
          .Constraint("rotary_dim % 2 == 0")
          .Build();
  return schema;
}

}  // namespace rill::ops
