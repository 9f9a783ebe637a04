#include "ops/position_embedding.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& PositionEmbeddingSchema() {
  using A = PositionEmbeddingArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kPositionEmbedding, "position_embedding", "Learned absolute positions")
          .Formula("y[t, :] = x[t, :] + table[positions[t] + offset, :]")
          .Tags({"embedding", "elementwise"})
          .In("x", &A::x, "num_tokens, hidden_size", "token embeddings")
          .In("positions", &A::positions, "num_tokens", "absolute positions")
          .DTypes({DType::kI32})
          .In("table", &A::table, "max_positions, hidden_size", "packed with row_access")
          .Out("y", &A::y, "num_tokens, hidden_size", "output")
          .MayAlias({"x"})
          .Attribute("offset", &A::offset, "first row of the table in use; OPT: 2")
          .Range(0, 1 << 20)
          .Build();
  return schema;
}

}  // namespace rill::ops
