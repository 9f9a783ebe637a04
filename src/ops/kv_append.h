// Writes this step's keys and values into their pages (quant/paged_kv_view.h):
//   page(s, p) = page_table[s, p / page_size],  p = kv_lens[s] - q_len + i for row i of sequence s
//   K[p, h, :] = encode(k[t, h, :]),  V[p, h, :] = encode(v[t, h, :])
// encode is that of the KV format (quant/kv_<name>.cc): rounding to nearest even for f32, f16 and
// bf16; codes and scales of one vector for int8 and int4. What is stored depends on nothing but the
// vector itself, so not on the chunking.
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
