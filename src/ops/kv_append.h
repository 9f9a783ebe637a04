// Writes this step's keys and values into their pages (tensor/paged_kv_view.h), converted to the
// KV dtype with round to nearest even. Row t of sequence s goes to position kv_lens[s] - q_len + i.
#pragma once

#include "ops/op_schema.h"

namespace rill::ops {

struct KvAppendArgs {
  TensorView k;  // [num_tokens, num_kv_heads, k_dim]  f32, any strides, last one 1
  TensorView v;  // [num_tokens, num_kv_heads, v_dim]  f32, any strides, last one 1
  const PagedKvView* kv = nullptr;
  int32_t layer = 0;
};
const OpSchema& KvAppendSchema();

}  // namespace rill::ops
