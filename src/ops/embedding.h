// Token embedding:  y[t, :] = scale * table[token_ids[t], :]
// Rows are decoded exactly to f32, then multiplied once. token_ids outside [0, vocab_size) are the
// caller's error (the engine refuses them at the door); kernels CHECK.
#pragma once

#include "ops/op_schema.h"

namespace rill::ops {

struct EmbeddingArgs {
  TensorView token_ids;                 // [num_tokens]  i32
  const PackedWeight* table = nullptr;  // [vocab_size, hidden_size], packed with row_access
  MutableTensorView y;                  // [num_tokens, hidden_size]  f32
  float scale = 1.0f;                   // Gemma: sqrt(hidden_size)
};
const OpSchema& EmbeddingSchema();

}  // namespace rill::ops
