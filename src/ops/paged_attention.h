// Attention of this step's queries over paged keys and values:
//   s[p] = score_scale * sum_d q[t, h, d] * K[p, h', d]        h' = h / (num_heads / num_kv_heads)
//   s[p] = softcap * tanh(s[p] / softcap)                      when softcap > 0
//   s[p] += alibi_slopes[h] * (p - position(t))                when given (arXiv:2108.12409)
//   visible p: p <= position(t) when causal, else p < kv_len;  p > position(t) - window, window > 0
//   y[t, h, :] = sum_p softmax(s)[p] * V[p, h', :]
//   sinks (gpt-oss): exp(sinks[h]) joins the softmax's denominator, nothing else.
// K and V are read after this step's kv_append, as their KV format decodes them
// (quant/kv_format.h). Arithmetic: scores one f32 fma chain over d; online softmax (Milakov &
// Gimelshein 2018, arXiv:1805.02867) over tiles of 64 absolute positions in ascending order, max
// and sum in the canonical 16-lane order; every span of 256 positions begins anew and spans are
// merged in ascending order (docs/numerics.md); so the result does not depend on the batch, the
// chunking, the page size or the threads. A row with no visible position gives 0. Non-finite scores
// give a non-finite row, of this query only.
#pragma once

#include "ops/op_schema.h"

namespace rill::ops {

struct PagedAttentionArgs {
  TensorView q;  // [num_tokens, num_heads, k_dim]  f32, any strides, last one 1
  const PagedKvView* kv = nullptr;
  TensorView alibi_slopes;  // [num_heads]  f32; optional
  TensorView sinks;         // [num_heads]  f32; optional
  MutableTensorView y;      // [num_tokens, num_heads, v_dim]  f32, any strides, last one 1
  int32_t layer = 0;
  float score_scale = 1.0f;  // usually 1 / sqrt(k_dim)
  float softcap = 0.0f;      // 0: none
  int32_t window = 0;        // sliding window in positions; 0: none
  bool causal = true;
};
const OpSchema& PagedAttentionSchema();

}  // namespace rill::ops
