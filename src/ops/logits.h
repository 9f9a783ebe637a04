// Logits of a step's rows: all of a row where wanted, else only the largest and its place.
//   l[t, n] = scale * (sum_k x[t, k] * w[n, k] + bias[n])
//   wanted[t] != 0:  y[t] = l[t], best_id[t] = -1, best[t] = 0
//   wanted[t] == 0:  y[t] is not touched, best[t] = l[t, best_id[t]], best_id[t] = the
//                    first n where l[t, n] is NaN or infinite, else where it is largest
// l is bit for bit what linear computes. So best_id[t] is the token of a greedy choice if best[t]
// is finite, and else the culprit.
//
// Why: greedy rows need no more, and a step of 64 of them, 49,152 tokens each, writes and reads
// 12 MB of logits for 64 numbers.
#pragma once

#include "ops/op_schema.h"

namespace rill::ops {

struct LogitsArgs {
  TensorView x;                     // [num_tokens, in_features]  f32, rows may be strided
  const PackedWeight* w = nullptr;  // [vocab_size, in_features]
  TensorView bias;                  // [vocab_size]  f32; optional
  TensorView wanted;                // [num_tokens]  i32
  MutableTensorView y;              // [num_tokens, vocab_size]  f32, rows may be strided
  MutableTensorView best_id;        // [num_tokens]  i32
  MutableTensorView best;           // [num_tokens]  f32
  float scale = 1.0f;
};
const OpSchema& LogitsSchema();

// What is known of a row of which only the largest logit was asked.
struct BestLogit {
  int32_t token_id = -1;  // -1: the whole row was written
  float logit = 0;
};

}  // namespace rill::ops
