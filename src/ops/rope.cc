#include "ops/rope.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& RopeSchema() {
  using A = RopeArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kRope, "rope", "Rotary position embedding, in place")
          .Formula(
              "(x_a, x_b) <- (x_a cos - x_b sin, x_b cos + x_a sin)\n"
              "half:        a = i, b = i + rotary_dim / 2       (Hugging Face, NeoX)\n"
              "interleaved: a = 2 i, b = 2 i + 1                (original, GPT-J, GGUF llama)")
          .Source("Su et al. 2021, arXiv:2104.09864")
          .Tags({"position"})
          .InOut("x", &A::x, "num_tokens, num_heads, head_dim", "queries or keys")
          .In("cos_sin", &A::cos_sin, "num_tokens, rotary_dim", "from rope_angles")
          .Attribute("interleaved", &A::interleaved, "pairs are neighbours, not halves")
          .Constraint("rotary_dim % 2 == 0")
          .Constraint("rotary_dim <= head_dim")
          .Build();
  return schema;
}

}  // namespace rill::ops
