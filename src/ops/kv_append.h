// Writes this step's keys and values into their pages (tensor/paged_kv_view.h):
//   page(s, p) = page_table[s, p / page_size],  p = kv_lens[s] - q_len + i for row i of sequence s
//   K[p, h, d] = convert(k[t, h, d]),  V[p, h, d] = convert(v[t, h, d])
// convert rounds to the KV dtype, to nearest even.
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
