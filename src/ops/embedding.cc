#include "ops/embedding.h"

#include "ops/schema_builder.h"

namespace rill::ops {

const OpSchema& EmbeddingSchema() {
  using A = EmbeddingArgs;
  static const OpSchema schema =
      SchemaBuilder<A>(OpId::kEmbedding, "embedding", "Token embedding")
          .Formula("y[t, :] = scale * table[token_ids[t], :]")
          .Tags({"embedding"})
          .In("token_ids", &A::token_ids, "num_tokens",
              "rows of the table, each in [0, vocab_size)")
          .DTypes({DType::kI32})
          .In("table", &A::table, "vocab_size, hidden_size", "packed with row_access")
          .Out("y", &A::y, "num_tokens, hidden_size", "decoded rows")
          .Attribute("scale", &A::scale, "Gemma: sqrt(hidden_size)")
          .Build();
  return schema;
}

}  // namespace rill::ops
