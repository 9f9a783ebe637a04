// Learned absolute positions:  y[t, :] = x[t, :] + table[positions[t] + offset, :]
// (GPT-2; OPT has offset 2.) positions[t] + offset outside the table: kernels CHECK; the engine
// refuses requests beyond max_position_embeddings.
#pragma once

#include "ops/op_schema.h"

namespace rill::ops {

struct PositionEmbeddingArgs {
  TensorView x;                         // [num_tokens, hidden_size]  f32
  TensorView positions;                 // [num_tokens]  i32
  const PackedWeight* table = nullptr;  // [max_positions, hidden_size], packed with row_access
  MutableTensorView y;                  // [num_tokens, hidden_size]  f32; may be x itself
  int32_t offset = 0;
};
const OpSchema& PositionEmbeddingSchema();

}  // namespace rill::ops
